"""HunyuanImage 2.1: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="hunyuan_image",
    title="HunyuanImage 2.1",
    script="hunyuan_image_train_network.py",
    network_module="networks.lora_hunyuan_image",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="the HunyuanImage 2.1 transformer (.safetensors)",
        ),
        Weight(
            "text_encoder",
            "text_encoder",
            required=True,
            what="the Qwen2.5-VL text encoder (.safetensors, bf16)",
        ),
        Weight("byt5", "byt5", required=True, what="the byT5 text encoder (.safetensors, fp16)"),
        Weight("vae", "vae", required=True, what="the HunyuanImage VAE (.safetensors)"),
    ),
    bucket_step=64,
    latent_suffix="_hi.npz",
    text_cache_suffix="_hi_te.npz",
    text_encoders=2,
    default_resolution=1024,
    trainers=("kohya",),
)
