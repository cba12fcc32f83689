"""Which layers a LoRA of each family covers, and how wide they are: picked from the networks'
anatomy, as kohya's network modules pick them.

Enough to know the size of a LoRA before it exists. Counted against sd-scripts: SD1.5 has 192
modules in the U-Net and 72 in the text encoder, SDXL 722 and 264, FLUX 304 and 72.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from lorakit.weights import anatomy
from lorakit.weights.anatomy import Named, UNetKind

TRANSFORMER = re.compile(r"\.(?:transformer_blocks\..*|proj_in|proj_out)\.weight")
RESIDUAL = re.compile(
    r"(?:\.in_layers\.2|\.emb_layers\.1|\.out_layers\.3|\.skip_connection|\.op|\d\.conv)\.weight"
)
CLIP = re.compile(r"\.(?:self_attn|mlp)\.\w+\.weight")
T5 = re.compile(r"\.(?:SelfAttention\.[qkvo]|DenseReluDense\.\w+)\.weight")


class LoraLayer(NamedTuple):
    inputs: int
    outputs: int
    kernel: int = 1  # 3: a 3x3 convolution, only with conv_dim

    def weights(self, rank: int) -> int:
        """Numbers in the two low-rank factors; the second factor of a convolution is 1x1."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)


Layers = tuple[LoraLayer, ...]


@cache
def unet_layers(unet: UNetKind) -> Layers:
    """Every linear layer and 1x1 convolution inside the transformers."""
    return _matching(TRANSFORMER, anatomy.unet(unet))


@cache
def conv_layers(unet: UNetKind) -> Layers:
    """What conv_dim adds: the residual blocks and the down- and upsamplers."""
    return _matching(RESIDUAL, anatomy.unet(unet))


@cache
def clip_layers(width: int, layers: int, inner: int) -> Layers:
    return _matching(CLIP, anatomy.clip(width, layers, inner))


@cache
def t5_layers() -> Layers:
    return _matching(T5, anatomy.t5xxl())


@cache
def flux_layers(blocks: str = "all") -> Layers:
    """`train_blocks` of networks.lora_flux: all, double or single."""
    kind = {"double": "double", "single": "single"}.get(blocks, "(?:double|single)")
    return _matching(re.compile(rf"^{kind}_blocks\..*\.weight"), anatomy.flux())


def _matching(wanted: re.Pattern[str], tensors: Named) -> Layers:
    return tuple(
        LoraLayer(shape[1], shape[0], *shape[2:3])
        for name, shape in tensors
        if len(shape) > 1 and wanted.search(name)
    )
