"""How large a base in diffusers form is, from its configuration and headers: a LoRA for a small
base is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.weights.anatomy import UNetKind
from lorakit.weights.identify import config_of
from lorakit.weights.safetensors import HeaderError, read_header

Clip = tuple[int, int, int]  # width, layers, width inside a layer


@dataclass(frozen=True)
class BaseSize:
    unet: UNetKind
    clips: tuple[Clip, ...]
    unet_count: int  # parameters; 0: unknown
    text_count: int
    vae_count: int


def base_of(path: Path) -> BaseSize | None:
    """None for a single file, which is always of its family's full size, and for a folder of some
    other form.
    """
    texts = [path / part for part in ("text_encoder", "text_encoder_2") if (path / part).is_dir()]
    try:
        return BaseSize(
            _unet(config_of(path / "unet")),
            tuple(_clip(config_of(text)) for text in texts),
            _count(path / "unet"),
            sum(map(_count, texts)),
            _count(path / "vae"),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _unet(config: Mapping[str, Any]) -> UNetKind:
    channels = tuple(config["block_out_channels"])
    given = config.get("transformer_layers_per_block", 1)
    depths = [given] * len(channels) if isinstance(given, int) else given
    levels = zip(depths, config["down_block_types"], strict=True)
    return UNetKind(
        channels,
        tuple(depth if "CrossAttn" in kind else 0 for depth, kind in levels),
        depths[-1],
        config["cross_attention_dim"],
        config["layers_per_block"],
    )


def _clip(config: Mapping[str, Any]) -> Clip:
    return config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]


def _count(folder: Path) -> int:
    """Of the one file that is loaded; a folder may hold the same weights in several number
    formats.
    """
    for file in sorted(folder.glob("*.safetensors"), key=lambda file: len(file.name)):
        try:
            return sum(tensor.count for tensor in read_header(file).tensors.values())
        except HeaderError:
            continue
    return 0
