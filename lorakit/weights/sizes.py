"""How large a LoRA will be, before it exists: which layers it covers, as kohya's network modules
pick them, of the usual networks or of a small base in diffusers form.

Counted against sd-scripts: SD1.5 has 192 modules in the U-Net and 72 in the text encoder, SDXL 722
and 264, FLUX 304 and 72.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lorakit.weights.anatomy import Named, UNetKind
from lorakit.weights.identify import config_of
from lorakit.weights.safetensors import HeaderError, read_header

TRANSFORMER = re.compile(r"\.(?:transformer_blocks\..*|proj_in|proj_out)\.weight")
RESIDUAL = re.compile(  # what conv_dim adds
    r"(?:\.in_layers\.2|\.emb_layers\.1|\.out_layers\.3|\.skip_connection|\.op|\d\.conv)\.weight"
)
CLIP = re.compile(r"\.(?:self_attn|mlp)\.\w+\.weight")
T5 = re.compile(r"\.(?:SelfAttention\.[qkvo]|DenseReluDense\.\w+)\.weight")
FLUX = {  # by `train_blocks` of networks.lora_flux
    blocks: re.compile(rf"^{kind}_blocks\..*\.weight")
    for blocks, kind in {"all": "(?:double|single)", "double": "double", "single": "single"}.items()
}
Clip = tuple[int, int, int]  # width, layers, width inside a layer


class LoraLayer(NamedTuple):
    inputs: int
    outputs: int
    kernel: int = 1  # 3: a 3x3 convolution, only with conv_dim

    def weights(self, rank: int) -> int:
        """Numbers in the two low-rank factors; the second factor of a convolution is 1x1."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)


@cache
def layers_of(
    wanted: re.Pattern[str], network: Callable[..., Named], *sizes: Any
) -> tuple[LoraLayer, ...]:
    """The layers of a network of anatomy.py that a LoRA covers."""
    return tuple(
        LoraLayer(shape[1], shape[0], *shape[2:3])
        for name, shape in network(*sizes)
        if len(shape) > 1 and wanted.search(name)
    )


@dataclass(frozen=True)
class BaseSize:
    unet: UNetKind
    clips: tuple[Clip, ...]
    unet_count: int  # parameters; 0: unknown
    text_count: int
    vae_count: int


def base_of(path: Path) -> BaseSize | None:
    """None for a single file, which is of its family's full size, and for other folders."""
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
    """Of the one file that is loaded; there may be the same weights in other number formats."""
    for file in sorted(folder.glob("*.safetensors"), key=lambda file: len(file.name)):
        try:
            return sum(tensor.count for tensor in read_header(file).tensors.values())
        except HeaderError:
            continue
    return 0
