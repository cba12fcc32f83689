"""Stable Diffusion 3: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="sd3",
    title="Stable Diffusion 3",
    script="sd3_train_network.py",
    network_module="networks.lora_sd3",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="the Stable Diffusion 3 or 3.5 checkpoint (.safetensors)",
        ),
        Weight(
            "clip_l",
            "clip_l",
            required=False,
            what="the CLIP-L text encoder, where the checkpoint does not hold it",
        ),
        Weight(
            "clip_g",
            "clip_g",
            required=False,
            what="the CLIP-G text encoder, where the checkpoint does not hold it",
        ),
        Weight(
            "t5xxl",
            "t5xxl",
            required=False,
            what="the T5-XXL text encoder, where the checkpoint does not hold it",
        ),
        Weight(
            "vae", "vae", required=False, what="the SD3 VAE, where the checkpoint does not hold it"
        ),
    ),
    bucket_step=32,
    latent_suffix="_sd3.npz",
    text_cache_suffix="_sd3_te.npz",
    text_encoders=3,
    default_resolution=1024,
    trainers=("kohya",),
)
