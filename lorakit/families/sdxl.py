"""Stable Diffusion XL."""

from __future__ import annotations

from lorakit.families.family import BASE, Family, Size, Weight

FAMILY = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    script="sdxl_train_network.py",
    network_module="networks.lora",
    weights=(
        Weight(
            "base",
            BASE,
            "an SDXL checkpoint (.safetensors) or diffusers folder",
            example="models/sdxl-base.safetensors",
        ),
        Weight("vae", "vae", "a separate VAE, e.g. the fp16-safe one", required=False),
    ),
    bucket_step=32,
    flow=False,
    trainers=("kohya", "embedded"),
    tokenizers=("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    sample_steps=30,
    sample_scale=7.5,
    pipeline="StableDiffusionXLPipeline",
    ui_word="SDXL",
    size=Size(2.57e9, 0.818e9, 0.084e9, 9.0, 0.9, 4, 77 * 2048 * 4 + 1280 * 4),
)
