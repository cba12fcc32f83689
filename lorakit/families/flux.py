"""FLUX.1 (dev)."""

from __future__ import annotations

from types import MappingProxyType

from lorakit.families.family import BASE, Family, Size, Weight

FAMILY = Family(
    name="flux",
    title="FLUX.1",
    script="flux_train_network.py",
    network_module="networks.lora_flux",
    weights=(
        Weight(
            "base",
            BASE,
            "the FLUX.1-dev transformer (.safetensors)",
            example="models/flux1-dev.safetensors",
        ),
        Weight(
            "clip_l",
            "clip_l",
            "the CLIP-L text encoder (.safetensors)",
            idle_with=("model_type", "chroma"),
        ),
        Weight(
            "t5xxl",
            "t5xxl",
            "the T5-XXL text encoder (.safetensors)",
            example="models/t5xxl_fp16.safetensors",
        ),
        Weight("ae", "ae", "the FLUX autoencoder (.safetensors)"),
    ),
    bucket_step=64,
    trainers=("kohya", "embedded"),
    # The script's own defaults are not the recommended ones; its documentation says so too.
    defaults=MappingProxyType(
        {"guidance_scale": 1.0, "timestep_sampling": "flux_shift", "model_prediction_type": "raw"}
    ),
    tokenizers=("openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"),
    pipeline="FluxPipeline",
    comfy_node="LoraLoaderModelOnly (LoraLoader if CLIP-L was trained too)",
    ui_word="Flux",
    size=Size(11.9e9, 4.89e9, 0.084e9, 28.0, 3.5, 16, 512 * (4096 + 3 + 1) * 4 + 768 * 4),
)
