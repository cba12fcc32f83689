"""Families that sd-scripts runs; the first three our own trainer, too."""

from types import MappingProxyType

from lorakit.families.family import BASE, Family, Size, Weight


def _base(what: str, file: str = "base.safetensors") -> Weight:
    return Weight("base", BASE, what, example=f"models/{file}")


INSIDE = "where the checkpoint does not hold it"

SD15 = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    script="train_network.py",
    network_module="networks.lora",
    weights=(
        _base("an SD1.5 checkpoint (.safetensors) or diffusers folder", "sd15-base.safetensors"),
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

SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    script="sdxl_train_network.py",
    network_module="networks.lora",
    weights=(
        _base("an SDXL checkpoint (.safetensors) or diffusers folder", "sdxl-base.safetensors"),
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

FLUX = Family(
    name="flux",
    title="FLUX.1",
    script="flux_train_network.py",
    network_module="networks.lora_flux",
    weights=(
        _base("the FLUX.1-dev transformer (.safetensors)", "flux1-dev.safetensors"),
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

SD3 = Family(
    name="sd3",
    title="Stable Diffusion 3",
    script="sd3_train_network.py",
    network_module="networks.lora_sd3",
    weights=(
        _base("the Stable Diffusion 3 or 3.5 checkpoint (.safetensors)"),
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
        _base("the Lumina Image 2.0 transformer (.safetensors)"),
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
        _base("the HunyuanImage 2.1 transformer (.safetensors)"),
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
        _base("the Anima transformer (.safetensors)"),
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
