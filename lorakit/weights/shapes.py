"""Which layers a LoRA of each family covers, and how wide they are: (inputs, outputs, kernel side)
of every module, by part.

Enough to know the size of a LoRA before it exists. Counted against sd-scripts: SD1.5 has 192
modules in the U-Net and 72 in the text encoder, SDXL 722 and 264, FLUX 304 and 72.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    inputs: int
    outputs: int
    kernel: int = 1  # 3: a 3x3 convolution, only with conv_dim

    def weights(self, rank: int) -> int:
        """Numbers in the two low-rank factors; the second factor of a convolution is 1x1."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)


@dataclass(frozen=True)
class UNet:
    """Channels and depth of transformers per level; the same picture fits SD1.5 and SDXL."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]  # transformer blocks in each attention of that level; 0: none
    middle: int
    context: int  # width of the text that cross-attention reads
    layers: int = 2  # blocks of each level on the way down; one more on the way up


SD15 = UNet((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 768)
SDXL = UNet((320, 640, 1280), (0, 2, 10), 10, 2048)
FLUX_WIDTH, FLUX_DOUBLE, FLUX_SINGLE = 3072, 19, 38


def unet_layers(unet: UNet) -> list[Layer]:
    """Every linear layer and 1x1 convolution inside the transformers: on the way down, on the way
    up, and one in the middle.
    """
    found: list[Layer] = []
    for width, depth in zip(unet.channels, unet.depths, strict=True):
        if depth:
            found += (2 * unet.layers + 1) * _transformer(width, depth, unet.context)
    return found + _transformer(unet.channels[-1], unet.middle, unet.context)


def conv_layers(unet: UNet) -> list[Layer]:
    """What conv_dim adds: the residual blocks and the down- and upsamplers."""
    found: list[Layer] = []
    skips = [unet.channels[0]]
    inside = unet.channels[0]
    last, time = len(unet.channels) - 1, 4 * unet.channels[0]
    for level, width in enumerate(unet.channels):
        for _ in range(unet.layers):
            found += _residual(inside, width, time)
            inside = width
            skips.append(width)
        if level < last:
            found.append(Layer(width, width, 3))
            skips.append(width)
    found += 2 * _residual(inside, inside, time)
    for level, width in reversed(list(enumerate(unet.channels))):
        for _ in range(unet.layers + 1):
            found += _residual(inside + skips.pop(), width, time)
            inside = width
        if level:
            found.append(Layer(width, width, 3))
    return found


def clip_layers(width: int, layers: int, inner: int) -> list[Layer]:
    return layers * [*(4 * [Layer(width, width)]), Layer(width, inner), Layer(inner, width)]


def t5_layers() -> list[Layer]:
    return 24 * [
        *(4 * [Layer(4096, 4096)]),
        Layer(4096, 10240),
        Layer(4096, 10240),
        Layer(10240, 4096),
    ]


def flux_layers(blocks: str = "all") -> list[Layer]:
    """`train_blocks` of networks.lora_flux: all, double or single."""
    return [
        *(_flux_double() if blocks in {"all", "double"} else ()),
        *(_flux_single() if blocks in {"all", "single"} else ()),
    ]


def _flux_double() -> Iterator[Layer]:
    width = FLUX_WIDTH
    for _ in range(2 * FLUX_DOUBLE):  # the picture's stream and the text's
        yield Layer(width, 6 * width)
        yield Layer(width, 3 * width)
        yield Layer(width, width)
        yield Layer(width, 4 * width)
        yield Layer(4 * width, width)


def _flux_single() -> Iterator[Layer]:
    width = FLUX_WIDTH
    for _ in range(FLUX_SINGLE):
        yield Layer(width, 7 * width)
        yield Layer(5 * width, width)
        yield Layer(width, 3 * width)


def _transformer(width: int, depth: int, context: int) -> list[Layer]:
    square = Layer(width, width)
    text = Layer(context, width)
    block = [*(5 * [square]), text, text, square, Layer(width, 8 * width), Layer(4 * width, width)]
    return [square, *(depth * block), square]


def _residual(inputs: int, outputs: int, time: int) -> list[Layer]:
    shortcut = [Layer(inputs, outputs)] if inputs != outputs else []
    return [Layer(inputs, outputs, 3), Layer(outputs, outputs, 3), Layer(time, outputs), *shortcut]
