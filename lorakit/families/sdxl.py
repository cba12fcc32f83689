"""Stable Diffusion XL."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    script="sdxl_train_network.py",
    network_module="networks.lora",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="an SDXL checkpoint (.safetensors) or diffusers folder",
        ),
        Weight("vae", "vae", required=False, what="a separate VAE, e.g. the fp16-safe one"),
    ),
    bucket_step=32,
    latent_suffix="_sdxl.npz",
    text_cache_suffix="_te_outputs.npz",
    text_encoders=2,
    default_resolution=1024,
    trainers=("kohya", "embedded"),
    tokenizers=("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
)
