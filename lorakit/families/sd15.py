"""Stable Diffusion 1.5."""

from __future__ import annotations

from lorakit.families.family import BASE, Family, Size, Weight

FAMILY = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    script="train_network.py",
    network_module="networks.lora",
    weights=(
        Weight(
            "base",
            BASE,
            "an SD1.5 checkpoint (.safetensors) or diffusers folder",
            example="models/sd15-base.safetensors",
        ),
        Weight("vae", "vae", "a separate VAE", required=False),
    ),
    bucket_step=64,
    default_resolution=512,
    flow=False,
    trainers=("kohya", "embedded"),
    tokenizers=("openai/clip-vit-large-patch14",),
    sample_steps=30,
    sample_scale=7.5,
    pipeline="StableDiffusionPipeline",
    ui_word="SD1",
    size=Size(0.86e9, 0.123e9, 0.084e9, 1.5, 0.5, 4, 0),
)
