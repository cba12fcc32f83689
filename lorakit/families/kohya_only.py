"""Families that only the kohya trainer runs; no preset ships for them yet."""

from __future__ import annotations

from lorakit.families.family import BASE, Family, Weight

INSIDE = "where the checkpoint does not hold it"

SD3 = Family(
    name="sd3",
    title="Stable Diffusion 3",
    script="sd3_train_network.py",
    network_module="networks.lora_sd3",
    weights=(
        Weight("base", BASE, "the Stable Diffusion 3 or 3.5 checkpoint (.safetensors)"),
        Weight("clip_l", "clip_l", f"the CLIP-L text encoder, {INSIDE}", required=False),
        Weight("clip_g", "clip_g", f"the CLIP-G text encoder, {INSIDE}", required=False),
        Weight("t5xxl", "t5xxl", f"the T5-XXL text encoder, {INSIDE}", required=False),
        Weight("vae", "vae", f"the SD3 VAE, {INSIDE}", required=False),
    ),
    bucket_step=32,
)

LUMINA = Family(
    name="lumina",
    title="Lumina Image 2.0",
    script="lumina_train_network.py",
    network_module="networks.lora_lumina",
    weights=(
        Weight("base", BASE, "the Lumina Image 2.0 transformer (.safetensors)"),
        Weight("gemma2", "gemma2", "the Gemma 2 2B text encoder (.safetensors, fp16)"),
        Weight("ae", "ae", "the FLUX autoencoder (.safetensors)"),
    ),
    bucket_step=64,
)

HUNYUAN_IMAGE = Family(
    name="hunyuan_image",
    title="HunyuanImage 2.1",
    script="hunyuan_image_train_network.py",
    network_module="networks.lora_hunyuan_image",
    weights=(
        Weight("base", BASE, "the HunyuanImage 2.1 transformer (.safetensors)"),
        Weight("text_encoder", "text_encoder", "the Qwen2.5-VL text encoder (.safetensors, bf16)"),
        Weight("byt5", "byt5", "the byT5 text encoder (.safetensors, fp16)"),
        Weight("vae", "vae", "the HunyuanImage VAE (.safetensors)"),
    ),
    bucket_step=64,
)

ANIMA = Family(
    name="anima",
    title="Anima",
    script="anima_train_network.py",
    network_module="networks.lora_anima",
    weights=(
        Weight("base", BASE, "the Anima transformer (.safetensors)"),
        Weight("qwen3", "qwen3", "the Qwen3 0.6B text encoder (.safetensors or folder)"),
        Weight("vae", "vae", "the Wan VAE (.safetensors)"),
        Weight(
            "llm_adapter",
            "llm_adapter_path",
            "the adapter, where the transformer does not hold it",
            required=False,
        ),
        Weight(
            "t5_tokenizer",
            "t5_tokenizer_path",
            "another T5 tokenizer folder than the one that sd-scripts brings",
            required=False,
        ),
    ),
    bucket_step=16,
)
