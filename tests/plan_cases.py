"""Small recipes and datasets for the tests of this room. Images are PNG headers without a body: nobody in this room decodes one."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorakit.machine import Gpu, Machine
from lorakit.recipe.model import Resolved, Section, Setting

CUDA = Machine("Linux", "x86_64", 16, 64 << 30, (Gpu("NVIDIA RTX 4090", 24_000_000_000),))
MAC = Machine("Darwin", "arm64", 10, 64 << 30, ())
PLAIN = Machine("Linux", "x86_64", 4, 64 << 30, ())
TRAIN: Mapping[str, Any] = {
    "network_dim": 8,
    "network_alpha": 4,
    "learning_rate": 1e-4,
    "resolution": "512,512",
    "enable_bucket": True,
    "max_bucket_reso": 1024,
    "max_train_epochs": 2,
    "sdpa": True,
    "optimizer_type": "AdamW",
    "lr_scheduler": "cosine",
    "network_train_unet_only": True,
}


def png(path: Path, width: int, height: int) -> Path:
    """A file whose header says width x height."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )
    return path


def folder(place: Path, sizes: Iterable[tuple[int, int]], *, captions: bool = True) -> Path:
    """An `N_trigger` folder with an image of every size."""
    place.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        png(place / f"{number:03d}.png", width, height)
        if captions:
            (place / f"{number:03d}.txt").write_text(
                f"maya_char, picture {number}", encoding="utf-8"
            )
    return place


def section(values: Mapping[str, Any], source: str = "recipes/maya.toml") -> Section:
    return {key: Setting(value, source) for key, value in values.items()}


def recipe(
    root: Path,
    train: Mapping[str, Any] | None = None,
    *,
    family: str = "sd15",
    trainer: str = "kohya",
    without: Iterable[str] = (),
    **sections: Mapping[str, Any],
) -> Resolved:
    """A sound recipe over `root/data`, with what the test changes."""
    values = {
        key: value for key, value in {**TRAIN, **(train or {})}.items() if key not in set(without)
    }
    model = {"base": "base.safetensors", "tokenizers": "tokenizers", **sections.get("model", {})}
    return Resolved(
        file=root / "recipes" / "maya.toml",
        root=root,
        name="maya",
        trigger="maya_char",
        preset="",
        family=family,
        trainer=trainer,
        model=section(model),
        dataset=section({"path": "data", **sections.get("dataset", {})}),
        train=section(values),
        sample=section(sections.get("sample", {})),
        launch=section(sections.get("launch", {})),
    )


def weights(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
    *,
    cut: int = 0,
) -> Path:
    """A safetensors file with a true header and a hole for its data; `cut` bytes are missing at its end."""
    widths = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        count = widths[dtype]
        for side in shape:
            count *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end - cut)
    return path


UNET = "model.diffusion_model."


def sd(
    width: int, *, vae: bool = True, text: bool = True, channels: int = 4, dtype: str = "F16"
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The telling tensors of a Stable Diffusion checkpoint whose text is so wide."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        f"{UNET}input_blocks.0.0.weight": (dtype, (320, channels, 3, 3)),
        f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (dtype, (640, width)),
    }
    if vae:
        found["first_stage_model.decoder.conv_in.weight"] = (dtype, (512, 4, 3, 3))
    if text:
        found["cond_stage_model.transformer.text_model.final_layer_norm.weight"] = (dtype, (768,))
    return found


def flux(*, guidance: bool = True, dtype: str = "BF16") -> dict[str, tuple[str, tuple[int, ...]]]:
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "double_blocks.0.img_attn.qkv.weight": (dtype, (9216, 3072))
    }
    return {**found, "guidance_in.in_layer.weight": (dtype, (3072, 256))} if guidance else found


def sd15_base(root: Path) -> Path:
    """Everything a sound SD1.5 recipe finds beside it: base.safetensors and a tokenizer folder."""
    (root / "tokenizers" / "openai_clip-vit-large-patch14").mkdir(parents=True, exist_ok=True)
    return weights(root / "base.safetensors", sd(768))
