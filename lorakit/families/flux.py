"""FLUX.1 (dev)."""

from __future__ import annotations

from types import MappingProxyType

from lorakit.families.family import Family, Weight

FAMILY = Family(
    name="flux",
    title="FLUX.1",
    script="flux_train_network.py",
    network_module="networks.lora_flux",
    weights=(
        Weight(
            "base",
            "pretrained_model_name_or_path",
            required=True,
            what="the FLUX.1-dev transformer (.safetensors)",
        ),
        Weight("clip_l", "clip_l", required=True, what="the CLIP-L text encoder (.safetensors)"),
        Weight("t5xxl", "t5xxl", required=True, what="the T5-XXL text encoder (.safetensors)"),
        Weight("ae", "ae", required=True, what="the FLUX autoencoder (.safetensors)"),
    ),
    bucket_step=64,
    latent_suffix="_flux.npz",
    text_cache_suffix="_flux_te.npz",
    text_encoders=2,
    default_resolution=1024,
    trainers=("kohya", "embedded"),
    # The script's own defaults are not the recommended ones; its documentation says so too.
    defaults=MappingProxyType(
        {"guidance_scale": 1.0, "timestep_sampling": "flux_shift", "model_prediction_type": "raw"}
    ),
    tokenizers=("openai/clip-vit-large-patch14", "google/t5-v1_1-xxl"),
)
