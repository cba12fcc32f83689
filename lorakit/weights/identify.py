"""What a file of weights is, from its header alone: family, part, number format, sound or not."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakit import json_text, tomllib
from lorakit.weights.safetensors import Header, HeaderError, Tensor, read_header

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
SD_UNET = "model.diffusion_model."
FP8 = {"F8_E4M3": "e4m3fn", "F8_E5M2": "e5m2"}
SD_WIDTHS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
LORA = (
    *(".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".lora_B.weight"),
    *(".hada_w1_a", ".lokr_w1", "lora.down.weight"),
)
_TOLD = tomllib.page(__file__, "identify.toml")
# In a LoRA without metadata: how wide the text is that it reads, and modules of one family alone.
_TEXT_WIDTH = re.compile(r"attn2[._](?:processor\.)?to_k[._](?:lora_down|lora_A|lora\.down)")
_TELLING = (
    (re.compile(r"transformer_blocks[._]\d+[._]img_mlp"), "qwen_image"),
    (re.compile(r"layers[._]\d+[._](?:attention[._]to_|feed_forward)"), "zimage"),
    (re.compile(r"transformer_blocks[._]\d+[._]attn[._]add_q_proj"), "flux"),
    (re.compile(r"lora_unet_(?:input|output)_blocks"), "sdxl"),
)
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Sniffed:
    """`kind`: checkpoint, lora, vae, text_encoder, embedding, controlnet, diffusers, pickle,
    unknown or broken.
    """

    path: Path
    kind: str
    family: str = ""  # sd15, sd2, sdxl, flux, sd3, lumina, ... "" where nothing says
    variant: str = ""  # dev, schnell, inpaint, refiner, clip_l, t5xxl, ...
    has_vae: bool = False
    has_text: bool = False
    dtype: str = ""  # the type of most of it: F16, BF16, F32, ...
    fp8: str = ""  # e4m3fn, e5m2
    v_prediction: bool = False
    problem: str = ""  # why it is broken
    data_bytes: int = 0
    parameters: int = 0
    header: Header | None = field(default=None, repr=False, compare=False)


def sniff(path: Path) -> Sniffed:
    """Never raises: what cannot be read is `broken`, and `problem` says why."""
    if path.is_dir():
        return _folder(path)
    if path.exists() and not path.is_file():
        return Sniffed(path, "broken", problem="is not a regular file")
    if path.suffix.lower() in PICKLED:
        return Sniffed(path, "pickle")
    try:
        header = read_header(path)
    except HeaderError as error:
        kind = "pickle" if "pickled" in error.fault else "broken"
        return Sniffed(path, kind, problem=error.fault)
    names, counts = header.tensors, header.dtypes()
    fp8 = next((FP8[name] for name in FP8 if counts.get(name, 0) * 2 > sum(counts.values())), "")
    kind, family, variant = _identity(names, header.metadata)
    return Sniffed(
        path,
        kind,
        family,
        variant,
        has_vae=kind == "vae" or _any(names, "first_stage_model.", "vae."),
        has_text=kind == "text_encoder"
        or _any(names, "cond_stage_model.", "conditioner.", "text_encoders."),
        dtype=max(counts, key=lambda name: counts[name]) if counts else "",
        fp8=fp8,
        v_prediction="v_pred" in names  # a bare key, which SDXL models carry
        or header.metadata.get("modelspec.prediction_type", "").lower()
        in {"v", "v_prediction", "v-prediction"},
        data_bytes=header.data_bytes,
        parameters=sum(counts.values()),
        header=header,
    )


def _any(names: Iterable[str], *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _identity(names: Tensors, metadata: Mapping[str, str]) -> tuple[str, str, str]:
    """(kind, family, variant)."""
    if any(name.endswith(LORA) for name in names):
        return "lora", _lora_family(names, metadata), ""
    model = _sd_unet(names) or _transformer(names)
    return ("checkpoint", *model) if model else _part(names)


def _lora_family(names: Tensors, metadata: Mapping[str, str]) -> str:
    stated = metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture", "")
    family: str
    for mark, family in _TOLD["architectures"].items():
        if mark in stated:
            return family
    if any("double_blocks" in name or "single_transformer_blocks" in name for name in names):
        return "flux"
    if _any(names, "lora_te2_"):
        return "sdxl"
    for name, tensor in names.items():
        if _TEXT_WIDTH.search(name) and len(tensor.shape) == 2:
            return SD_WIDTHS.get(tensor.shape[-1], "")
    for pattern, family in _TELLING:
        if any(pattern.search(name) for name in names):
            return family
    return ""


def _sd_unet(names: Tensors) -> tuple[str, str] | None:
    """SD1, SD2 and SDXL as one file, told apart by the width of the text that attn2 reads."""
    first = names.get(f"{SD_UNET}input_blocks.0.0.weight")
    if first is None:
        return None
    variant = {9: "inpaint", 8: "edit"}.get(first.shape[1], "") if len(first.shape) == 4 else ""
    width = min(
        (
            tensor.shape[1]
            for name, tensor in names.items()
            if name.startswith(SD_UNET)
            and name.endswith("attn2.to_k.weight")
            and len(tensor.shape) == 2
        ),
        default=0,
    )
    return ("sdxl", "refiner") if width == 1280 else (SD_WIDTHS.get(width, ""), variant)


def _transformer(names: Tensors) -> tuple[str, str] | None:
    bare = {name.removeprefix(SD_UNET).removeprefix("model.") for name in names}
    for one in _TOLD["transformers"]:
        if all(_any(bare, mark) for mark in one["has"]):
            return one["family"], one.get("variant", "")
    return None


def _part(names: Tensors) -> tuple[str, str, str]:
    """Parts that people give by mistake for a complete model, or rightly as a part."""
    for prefix in ("", "first_stage_model.", "vae."):
        conv = names.get(f"{prefix}decoder.conv_in.weight")
        if conv is not None:
            return "vae", "flux" if len(conv.shape) == 4 and conv.shape[1] == 16 else "", ""
    t5 = names.get("encoder.block.0.layer.0.SelfAttention.q.weight")
    if t5 is not None:
        return "text_encoder", "", "t5xxl" if t5.shape[-1:] == (4096,) else "t5"
    for prefix in ("text_model.", "text_encoders.clip_l.transformer.text_model."):
        final = names.get(f"{prefix}final_layer_norm.weight")
        if final is not None:
            width = final.shape[0] if final.shape else 0
            return "text_encoder", "", {768: "clip_l", 1280: "clip_g"}.get(width, "clip")
    if "emb_params" in names or set(names) <= {"clip_l", "clip_g"}:
        return "embedding", "", ""
    if _any(names, "control_model.", "controlnet_", "zero_convs."):
        return "controlnet", "", ""
    if "conv_in.weight" in names and _any(names, "down_blocks.0."):
        return "unet", "", "diffusers"
    return "unknown", "", ""


def _folder(path: Path) -> Sniffed:
    """A diffusers folder; the pipeline's class name says the family."""
    name = str(json_text.table(path / "model_index.json").get("_class_name", ""))
    if not name:
        return Sniffed(
            path,
            "broken",
            problem="is a folder without a readable model_index.json, so not a diffusers model",
        )
    family = next((family for mark, family in _TOLD["pipelines"].items() if mark in name), "")
    unet = json_text.table(path / "unet" / "config.json")
    if family == "sd15" and unet.get("cross_attention_dim") == 1024:
        family = "sd2"
    schedule = json_text.table(path / "scheduler" / "scheduler_config.json")
    return Sniffed(
        path,
        "diffusers",
        family,
        has_vae=(path / "vae").is_dir(),
        has_text=(path / "text_encoder").is_dir(),
        v_prediction=schedule.get("prediction_type") == "v_prediction",
    )
