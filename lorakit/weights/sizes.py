"""How large a LoRA will be, before it exists: which layers it covers, as kohya's network modules
pick them, of the usual networks or of a small base in diffusers form.

Counted against sd-scripts: SD1.5 has 192 modules in the U-Net and 72 in the text encoder, SDXL 722
and 264, FLUX 304 and 72.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lorakit.weights.anatomy import Named, Shape
from lorakit.weights.safetensors import HeaderError, read_header

TRANSFORMER = re.compile(r"\.(?:transformer_blocks\..*|proj_in|proj_out)\.weight")
RESIDUAL = re.compile(  # what conv_dim adds, by the makers' names and by diffusers'
    r"(?:\.in_layers\.2|\.emb_layers\.1|\.out_layers\.3|\.skip_connection|\.op|\d\.conv"
    r"|resnets\.\d+\.(?:conv1|conv2|time_emb_proj|conv_shortcut))\.weight"
)
CLIP = re.compile(r"\.(?:self_attn|mlp)\.\w+\.weight")
T5 = re.compile(r"\.(?:SelfAttention\.[qkvo]|DenseReluDense\.\w+)\.weight")
FLUX = {  # by `train_blocks` of networks.lora_flux
    blocks: re.compile(rf"^{kind}_blocks\..*\.weight")
    for blocks, kind in {"all": "(?:double|single)", "double": "double", "single": "single"}.items()
}
Shapes = Mapping[str, Shape]


class LoraLayer(NamedTuple):
    inputs: int
    outputs: int
    kernel: int = 1  # 3: a 3x3 convolution, only with conv_dim

    def weights(self, rank: int) -> int:
        """Numbers in the two low-rank factors; the second factor of a convolution is 1x1."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)


Layers = tuple[LoraLayer, ...]


def covered(wanted: re.Pattern[str], tensors: Iterable[tuple[str, Shape]]) -> Layers:
    """The layers of a network that a LoRA covers, by the names and shapes of its tensors."""
    return tuple(
        LoraLayer(shape[1], shape[0], *shape[2:3])
        for name, shape in tensors
        if len(shape) > 1 and wanted.search(name)
    )


@cache
def usual(wanted: re.Pattern[str], network: Callable[..., Named], *sizes: Any) -> Layers:
    """Those of a network of anatomy.py."""
    return covered(wanted, network(*sizes))


@dataclass(frozen=True)
class BaseShapes:
    """The tensors of a base in diffusers form."""

    unet: Shapes
    texts: tuple[Shapes, ...]
    vae: Shapes


def base_of(path: Path) -> BaseShapes | None:
    """None for a single file, which is of its family's full size, and for other folders."""
    unet = _shapes(path / "unet")
    if "conv_in.weight" not in unet:
        return None
    texts = (_shapes(path / part) for part in ("text_encoder", "text_encoder_2"))
    return BaseShapes(unet, tuple(filter(None, texts)), _shapes(path / "vae"))


def _shapes(folder: Path) -> Shapes:
    """Of the one file that is loaded; there may be the same weights in other number formats."""
    for file in sorted(folder.glob("*.safetensors"), key=lambda file: len(file.name)):
        try:
            return {name: tensor.shape for name, tensor in read_header(file).tensors.items()}
        except HeaderError:
            continue
    return {}
