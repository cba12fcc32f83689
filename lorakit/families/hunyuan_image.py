"""HunyuanImage 2.1: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.base import Family, Weight

FAMILY = Family(
    name="hunyuan_image",
    title="HunyuanImage 2.1",
    script="hunyuan_image_train_network.py",
    network_module="networks.lora_hunyuan_image",
    weights=(Weight("base", "pretrained_model_name_or_path", required=True, what="the HunyuanImage 2.1 weights (.safetensors)"),),
    bucket_step=64,
    latent_suffix="_hunyuan_image.npz",
    text_cache_suffix="_hunyuan_image_te.npz",
    text_encoders=1,
    default_resolution=1024,
    trainers=("kohya",),
)
