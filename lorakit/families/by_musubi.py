"""Families that only musubi-tuner runs here. What is measured of their memory is in the presets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lorakit.families.family import Family, Weight

# musubi's own defaults are nobody's wish: no optimizer, 2e-6, 32-bit files.
COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "sdpa": True,
        "mixed_precision": "bf16",
        "save_precision": "bf16",
        "weighting_scheme": "none",
        "enable_bucket": True,
    }
)


def _family(defaults: Mapping[str, Any], **facts: Any) -> Family:
    return Family(
        **facts,
        defaults=MappingProxyType({**COMMON, **defaults}),
        bucket_step=16,
        trainers=("musubi",),
        comfy_node="LoraLoaderModelOnly",
    )


def _dit(what: str, example: str) -> Weight:
    return Weight("base", "dit", what, example=f"models/{example}")


_QWEN_VAE = Weight("vae", "vae", "the Qwen-Image VAE (.safetensors)")
_WAN_VAE = Weight("vae", "vae", "the Wan 2.1 VAE (.safetensors); Wan 2.2's 14B models use it too")
_UMT5 = Weight("t5", "t5", "the umT5-XXL text encoder (.safetensors or .pth)")

ZIMAGE = _family(
    {"timestep_sampling": "shift", "discrete_flow_shift": 2.0},
    name="zimage",
    title="Z-Image",
    script="zimage_train_network.py",
    network_module="networks.lora_zimage",
    weights=(
        _dit("the Z-Image transformer, or the first of its files", "z_image.safetensors"),
        Weight("vae", "vae", "the FLUX autoencoder, which Z-Image uses (.safetensors)"),
        Weight("text_encoder", "text_encoder", "the Qwen3 4B text encoder (.safetensors)"),
    ),
    tokenizers=("Tongyi-MAI/Z-Image",),
    pipeline="ZImagePipeline",
    ui_word="Z-Image",
)

QWEN_IMAGE = _family(
    {"timestep_sampling": "shift", "discrete_flow_shift": 2.2, "model_version": "original"},
    name="qwen_image",
    title="Qwen-Image",
    script="qwen_image_train_network.py",
    network_module="networks.lora_qwen_image",
    controls=True,
    weights=(
        _dit("the Qwen-Image transformer (.safetensors, bf16)", "qwen_image_bf16.safetensors"),
        _QWEN_VAE,
        Weight("text_encoder", "text_encoder", "the Qwen2.5-VL text encoder (.safetensors, bf16)"),
    ),
    tokenizers=("Qwen/Qwen-Image",),
    pipeline="QwenImagePipeline",
    ui_word="Qwen",
)

FLUX2 = _family(
    {"timestep_sampling": "flux2_shift", "model_version": "dev"},
    name="flux2",
    title="FLUX.2",
    script="flux_2_train_network.py",
    network_module="networks.lora_flux_2",
    controls=True,
    weights=(
        _dit("the FLUX.2 transformer (.safetensors)", "flux2-dev.safetensors"),
        Weight("vae", "vae", "the FLUX.2 autoencoder (.safetensors)"),
        Weight("text_encoder", "text_encoder", "Mistral 3 for dev, Qwen3 for klein (.safetensors)"),
    ),
    tokenizers=("mistralai/Mistral-Small-3.1-24B-Instruct-2503",),
    pipeline="Flux2Pipeline",
    ui_word="Flux 2",
)

KONTEXT = _family(
    {"timestep_sampling": "flux_shift"},
    name="flux_kontext",
    title="FLUX.1 Kontext",
    script="flux_kontext_train_network.py",
    network_module="networks.lora_flux",
    controls=True,
    weights=(
        _dit("the FLUX.1 Kontext transformer (.safetensors)", "flux1-kontext-dev.safetensors"),
        Weight("vae", "vae", "the FLUX autoencoder (.safetensors)"),
        Weight("t5xxl", "text_encoder1", "the T5-XXL text encoder (.safetensors)"),
        Weight("clip_l", "text_encoder2", "the CLIP-L text encoder (.safetensors)"),
    ),
    tokenizers=("google/t5-v1_1-xxl", "openai/clip-vit-large-patch14"),
    pipeline="FluxKontextPipeline",
    ui_word="Flux",
)

KREA2 = _family(
    {"timestep_sampling": "krea2_shift"},
    name="krea2",
    title="Krea 2",
    script="krea2_train_network.py",
    network_module="networks.lora_krea2",
    weights=(
        _dit("the Krea 2 transformer, RAW and not Turbo (.safetensors)", "krea2_raw.safetensors"),
        _QWEN_VAE,
        Weight("text_encoder", "text_encoder", "the text encoder of Krea 2 (.safetensors)"),
    ),
    tokenizers=("Qwen/Qwen3-VL-4B-Instruct",),
    pipeline="Krea2Pipeline",
)

WAN21 = _family(
    {"timestep_sampling": "shift", "discrete_flow_shift": 3.0, "task": "t2v-14B"},
    name="wan21",
    title="Wan 2.1",
    script="wan_train_network.py",
    network_module="networks.lora_wan",
    default_resolution=960,
    films=True,
    weights=(
        _dit("the Wan 2.1 transformer (.safetensors)", "wan2.1_t2v_14B_bf16.safetensors"),
        _WAN_VAE,
        _UMT5,
        Weight("clip", "clip", "the CLIP image encoder, for image to video", required=False),
    ),
    tokenizers=("Wan-AI/Wan2.1-T2V-14B",),
    pipeline="WanPipeline",
    ui_word="Wan Video",
)

WAN22 = _family(
    {
        "timestep_sampling": "shift",
        "discrete_flow_shift": 12.0,
        "task": "t2v-A14B",
        "preserve_distribution_shape": True,
    },
    name="wan22",
    title="Wan 2.2",
    script="wan_train_network.py",
    network_module="networks.lora_wan",
    default_resolution=960,
    films=True,
    weights=(
        _dit(
            "one expert of Wan 2.2: the low-noise or the high-noise transformer (.safetensors)",
            "wan2.2_t2v_low_noise_14B_fp16.safetensors",
        ),
        _WAN_VAE,
        _UMT5,
    ),
    tokenizers=("Wan-AI/Wan2.1-T2V-14B",),
    pipeline="WanPipeline",
    ui_word="Wan Video",
)
