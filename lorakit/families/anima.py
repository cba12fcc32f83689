"""Anima: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.base import Family, Weight

FAMILY = Family(
    name="anima",
    title="Anima",
    script="anima_train_network.py",
    network_module="networks.lora_anima",
    weights=(Weight("base", "pretrained_model_name_or_path", required=True, what="the Anima weights (.safetensors)"),),
    bucket_step=64,
    latent_suffix="_anima.npz",
    text_cache_suffix="_anima_te.npz",
    text_encoders=1,
    default_resolution=1024,
    trainers=("kohya",),
)
