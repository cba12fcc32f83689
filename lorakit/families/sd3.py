"""Stable Diffusion 3: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.base import Family, Weight

FAMILY = Family(
    name="sd3",
    title="Stable Diffusion 3",
    script="sd3_train_network.py",
    network_module="networks.lora_sd3",
    weights=(Weight("base", "pretrained_model_name_or_path", required=True, what="the Stable Diffusion 3 weights (.safetensors)"),),
    bucket_step=64,
    latent_suffix="_sd3.npz",
    text_cache_suffix="_sd3_te.npz",
    text_encoders=1,
    default_resolution=1024,
    trainers=("kohya",),
)
