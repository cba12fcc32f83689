"""Lumina Image 2.0: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="lumina",
    title="Lumina Image 2.0",
    script="lumina_train_network.py",
    network_module="networks.lora_lumina",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="the Lumina Image 2.0 transformer (.safetensors)",
        ),
        Weight(
            "gemma2",
            "gemma2",
            required=True,
            what="the Gemma 2 2B text encoder (.safetensors, fp16)",
        ),
        Weight("ae", "ae", required=True, what="the FLUX autoencoder (.safetensors)"),
    ),
    bucket_step=64,
    latent_suffix="_lumina.npz",
    text_cache_suffix="_lumina_te.npz",
    text_encoders=1,
    default_resolution=1024,
    trainers=("kohya",),
)
