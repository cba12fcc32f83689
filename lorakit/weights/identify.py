"""What a file of weights is, from its header alone: family, part, number format, and whether it is
whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.weights.safetensors import Header, HeaderError, Tensor, read_header

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
SD_UNET = "model.diffusion_model."
FP8 = {"F8_E4M3": "e4m3fn", "F8_E5M2": "e5m2"}


@dataclass(frozen=True)
class Sniffed:
    """`kind`: checkpoint, lora, vae, text_encoder, embedding, controlnet, diffusers, pickle,
    unknown or broken.
    """

    path: Path
    kind: str
    family: str = ""  # sd15, sd2, sdxl, flux, sd3, lumina, ... "" where it cannot be told
    variant: str = ""  # dev, schnell, inpaint, refiner, clip_l, t5xxl, ...
    has_vae: bool = False
    has_text: bool = False
    dtype: str = ""  # the type of most of it: F16, BF16, F32, ...
    fp8: str = ""  # e4m3fn, e5m2
    v_prediction: bool = False
    problem: str = ""  # why it is broken
    data_bytes: int = 0
    parameters: int = 0


def sniff(path: Path) -> Sniffed:
    """Never raises: what cannot be read is `broken`, and `problem` says why."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in PICKLED:
        return Sniffed(path, "pickle")
    try:
        header = read_header(path)
    except HeaderError as error:
        kind = "pickle" if "pickled" in error.fault else "broken"
        return Sniffed(path, kind, problem=error.fault)
    return _told(path, header)


def _told(path: Path, header: Header) -> Sniffed:
    names = header.tensors
    counts = header.dtypes()
    fp8 = next((FP8[name] for name in FP8 if counts.get(name, 0) * 2 > sum(counts.values())), "")
    kind, family, variant = _identity(names, header.metadata)
    return Sniffed(
        path,
        kind,
        family,
        variant,
        has_vae=any(name.startswith(("first_stage_model.", "vae.")) for name in names)
        or kind == "vae",
        has_text=any(
            name.startswith(("cond_stage_model.", "conditioner.", "text_encoders."))
            for name in names
        )
        or kind == "text_encoder",
        dtype=max(counts, key=lambda name: counts[name]) if counts else "",
        fp8=fp8,
        v_prediction=_v_prediction(names, header.metadata),
        data_bytes=header.data_bytes,
        parameters=sum(tensor.count for tensor in names.values()),
    )


def _identity(names: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[str, str, str]:
    """(kind, family, variant)."""
    if _is_lora(names):
        return "lora", _lora_family(names, metadata), ""
    unet = _sd_unet(names)
    if unet:
        return ("checkpoint", *unet)
    transformer = _transformer(names)
    if transformer:
        return ("checkpoint", *transformer)
    part = _part(names)
    return part or ("unknown", "", "")


def _is_lora(names: Mapping[str, Tensor]) -> bool:
    marks = (
        ".lora_down.weight",
        ".lora_up.weight",
        ".lora_A.weight",
        ".lora_B.weight",
        ".hada_w1_a",
        ".lokr_w1",
        "lora.down.weight",
    )
    return any(name.endswith(marks) for name in names)


def _lora_family(names: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    said = metadata.get("ss_base_model_version", "") or metadata.get("modelspec.architecture", "")
    for mark, family in (
        ("sdxl", "sdxl"),
        ("stable-diffusion-xl", "sdxl"),
        ("flux", "flux"),
        ("sd3", "sd3"),
        ("sd_v2", "sd2"),
        ("sd_v1", "sd15"),
        ("stable-diffusion-v1", "sd15"),
    ):
        if mark in said:
            return family
    if any("double_blocks" in name or "single_transformer_blocks" in name for name in names):
        return "flux"
    if any(name.startswith("lora_te2_") for name in names):
        return "sdxl"
    wide = [
        tensor.shape[-1]
        for name, tensor in names.items()
        if "attn2_to_k.lora_down" in name and len(tensor.shape) == 2
    ]
    return {768: "sd15", 1024: "sd2", 2048: "sdxl"}.get(wide[0], "") if wide else ""


def _sd_unet(names: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """SD1, SD2 and SDXL in their single-file form, told apart by how wide the text is that
    cross-attention reads.
    """
    first = names.get(f"{SD_UNET}input_blocks.0.0.weight")
    if first is None:
        return None
    variant = {9: "inpaint", 8: "edit"}.get(first.shape[1], "") if len(first.shape) == 4 else ""
    widths = {
        tensor.shape[1]
        for name, tensor in names.items()
        if name.startswith(SD_UNET)
        and name.endswith("attn2.to_k.weight")
        and len(tensor.shape) == 2
    }
    if not widths:
        return "", variant
    width = min(widths)
    refiner = width == 1280
    return {768: "sd15", 1024: "sd2", 2048: "sdxl", 1280: "sdxl"}.get(width, ""), (
        "refiner" if refiner else variant
    )


def _transformer(names: Mapping[str, Tensor]) -> tuple[str, str] | None:
    bare = {name.removeprefix(SD_UNET).removeprefix("model.") for name in names}
    if any(name.startswith("distilled_guidance_layer.") for name in bare):
        return "flux", "chroma"
    if "double_blocks.0.img_attn.qkv.weight" in bare:
        if any(name.startswith("byt5_in.") for name in bare):
            return "hunyuan_image", ""
        return "flux", "dev" if any(name.startswith("guidance_in.") for name in bare) else "schnell"
    if any(name.startswith("single_transformer_blocks.0.") for name in bare):
        return "flux", (
            "diffusers-dev"
            if any("guidance_embedder" in name for name in bare)
            else "diffusers-schnell"
        )
    if any(name.startswith("joint_blocks.0.") for name in bare):
        return "sd3", ""
    if "cap_embedder.0.weight" in bare and any(name.startswith("noise_refiner.") for name in bare):
        return "lumina", ""
    if (
        any(name.startswith("blocks.0.adaln_modulation_cross_attn") for name in bare)
        or "llm_adapter.embed.weight" in bare
    ):
        return "anima", ""
    return None


def _part(names: Mapping[str, Tensor]) -> tuple[str, str, str] | None:
    """Parts that people give by mistake for a whole model, or rightly as a part."""
    bare = {
        name.removeprefix("first_stage_model.").removeprefix("vae."): tensor
        for name, tensor in names.items()
    }
    conv = bare.get("decoder.conv_in.weight")
    if conv is not None:
        return "vae", "flux" if len(conv.shape) == 4 and conv.shape[1] == 16 else "", ""
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in names:
        return (
            "text_encoder",
            "",
            (
                "t5xxl"
                if names["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[-1] == 4096
                else "t5"
            ),
        )
    for prefix in ("text_model.", "text_encoders.clip_l.transformer.text_model."):
        final = names.get(f"{prefix}final_layer_norm.weight")
        if final is not None:
            return "text_encoder", "", {768: "clip_l", 1280: "clip_g"}.get(final.shape[0], "clip")
    if "emb_params" in names or set(names) <= {"clip_l", "clip_g"}:
        return "embedding", "", ""
    if any(name.startswith(("control_model.", "controlnet_", "zero_convs.")) for name in names):
        return "controlnet", "", ""
    if "conv_in.weight" in names and any(name.startswith("down_blocks.0.") for name in names):
        return "unet", "", "diffusers"
    return None


def _v_prediction(names: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """A bare key `v_pred` (SDXL models carry it), or what the metadata says."""
    return "v_pred" in names or metadata.get("modelspec.prediction_type", "").lower() in {
        "v",
        "v_prediction",
        "v-prediction",
    }


def _folder(path: Path) -> Sniffed:
    """A diffusers folder; the pipeline's class name tells the family."""
    try:
        index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
        name = str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return Sniffed(
            path,
            "broken",
            problem="is a folder without a readable model_index.json, so not a diffusers model",
        )
    family = next(
        (
            family
            for mark, family in (
                ("StableDiffusionXL", "sdxl"),
                ("StableDiffusion3", "sd3"),
                ("Flux", "flux"),
                ("Lumina", "lumina"),
                ("HunyuanImage", "hunyuan_image"),
                ("StableDiffusion", "sd15"),
            )
            if mark in name
        ),
        "",
    )
    if family == "sd15" and config_of(path / "unet").get("cross_attention_dim") == 1024:
        family = "sd2"
    v = (
        config_of(path / "scheduler", "scheduler_config.json").get("prediction_type")
        == "v_prediction"
    )
    return Sniffed(
        path,
        "diffusers",
        family,
        has_vae=(path / "vae").is_dir(),
        has_text=(path / "text_encoder").is_dir(),
        v_prediction=v,
    )


def config_of(folder: Path, name: str = "config.json") -> Mapping[str, Any]:
    """A part's configuration in a diffusers folder; empty where it cannot be read."""
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
