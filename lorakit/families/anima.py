"""Anima: planned and run through the kohya trainer; no shipped preset yet."""

from __future__ import annotations

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="anima",
    title="Anima",
    script="anima_train_network.py",
    network_module="networks.lora_anima",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="the Anima transformer (.safetensors)",
        ),
        Weight(
            "qwen3",
            "qwen3",
            required=True,
            what="the Qwen3 0.6B text encoder (.safetensors or folder)",
        ),
        Weight("vae", "vae", required=True, what="the Wan VAE (.safetensors)"),
        Weight(
            "llm_adapter",
            "llm_adapter_path",
            required=False,
            what="the adapter, where the transformer does not hold it",
        ),
        Weight(
            "t5_tokenizer",
            "t5_tokenizer_path",
            required=False,
            what="another T5 tokenizer folder than the one that sd-scripts brings",
        ),
    ),
    bucket_step=16,
    latent_suffix="_anima.npz",
    text_cache_suffix="_anima_te.npz",
    text_encoders=1,
    default_resolution=1024,
    trainers=("kohya",),
)
