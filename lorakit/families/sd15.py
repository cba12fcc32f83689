"""Stable Diffusion 1.5."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    script="train_network.py",
    network_module="networks.lora",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="an SD1.5 checkpoint (.safetensors) or diffusers folder",
        ),
        Weight("vae", "vae", required=False, what="a separate VAE"),
    ),
    bucket_step=64,
    latent_suffix="_sd.npz",
    text_cache_suffix="",
    text_encoders=1,
    default_resolution=512,
    trainers=("kohya", "embedded"),
    tokenizers=("openai/clip-vit-large-patch14",),
)
