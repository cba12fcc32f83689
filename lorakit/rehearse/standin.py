"""Stand-in weights: files of the right names, shapes and size, filled with small random numbers.
They sample noise, but they train.

Written without torch, once, into the user's cache folder; their metadata say what they are.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorakit.config import cache_dir
from lorakit.errors import SetupError
from lorakit.files import write_atomic
from lorakit.machine import free_disk
from lorakit.trainers.tokenizers import T5_FOLDER
from lorakit.weights import anatomy
from lorakit.weights.adapters import stored
from lorakit.weights.safetensors import write as write_safetensors

Tensors = Mapping[str, anatomy.Shape]
METADATA = {"modelspec.title": "lorakit stand-in (random numbers)"}
POOL = 1 << 22
VERSION = 1  # raise it when a file's content changes: the old one is then left unread


@dataclass(frozen=True)
class StandIn:
    """One file. `hole` files hold nothing but zeros that take no room on the disk."""

    tensors: Callable[[], Tensors]
    dtype: str  # F16 or BF16
    hole: bool = False


FILES: Mapping[str, StandIn] = {
    "sd15": StandIn(anatomy.sd15_checkpoint, "F16"),
    "sdxl": StandIn(anatomy.sdxl_checkpoint, "F16"),
    "flux": StandIn(lambda: dict(anatomy.flux(1, 1)), "BF16"),
    "flux-ae": StandIn(lambda: dict(anatomy.autoencoder(16, quantised=False)), "BF16"),
    "clip-l": StandIn(lambda: dict(anatomy.clip()), "BF16"),
    "t5xxl": StandIn(lambda: dict(anatomy.t5xxl()), "BF16", hole=True),
}
# Which files stand for the [model] keys of a family.
FAMILIES: Mapping[str, Mapping[str, str]] = {
    "sd15": {"base": "sd15"},
    "sdxl": {"base": "sdxl"},
    "flux": {"base": "flux", "ae": "flux-ae", "clip_l": "clip-l", "t5xxl": "t5xxl"},
}


def weights(family: str, say: Callable[[str], None] = lambda _: None) -> dict[str, Path]:
    """The stand-ins of a family by [model] key, made where they are missing."""
    return {key: stand_in(name, say) for key, name in FAMILIES[family].items()}


def stand_in(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    file = FILES[name]
    path = folder() / f"{name}-{VERSION}.safetensors"
    if not path.is_file():
        tensors = file.tensors()
        need = 0 if file.hole else 2 * sum(math.prod(shape) for shape in tensors.values())
        if free_disk(path.parent) < need + (1 << 30):
            what = f"{path.parent}: no room for a stand-in of {need / 1e9:.1f} GB."
            hint = "Free some disk, or point XDG_CACHE_HOME at a larger one."
            raise SetupError(what, hint=hint)
        say(f"Making a stand-in for {name} ({need / 1e9:.1f} GB, once) in {path.parent}")
        write(path, tensors, file.dtype, hole=file.hole)
    return path


def t5_tokenizer() -> Path:
    """For tokenizer_cache_dir: T5's, of single characters with T5's marks. It teaches nothing."""
    place = folder() / "tokenizers"
    file = place / T5_FOLDER / "tokenizer.json"
    if not file.is_file():
        write_atomic(file, Path(__file__).with_name("t5_characters.json").read_bytes())
    return place


def folder() -> Path:
    return cache_dir() / "stand-ins"


def write(path: Path, tensors: Tensors, dtype: str, *, hole: bool = False) -> None:
    body = (stored(fill(*one, place), dtype)[2] for place, one in enumerate(tensors.items()))
    typed = {name: (dtype, shape) for name, shape in tensors.items()}
    write_safetensors(path, typed, METADATA, None if hole else body)


def fill(name: str, shape: anatomy.Shape, number: int) -> npt.NDArray[np.float32]:
    """Norms at 1, biases at 0, the rest small and random: no layer makes its signal larger."""
    count = math.prod(shape)
    if name.endswith((".bias", "in_proj_bias")):
        return np.zeros(count, np.float32)
    if len(shape) < 2:
        return np.ones(count, np.float32)
    spread = 0.02 if "embedding" in name else 0.7 / math.sqrt(math.prod(shape[1:]))
    start = number * 7919 % (POOL // 2)
    values: npt.NDArray[np.float32] = np.resize(pool()[start:], count) * np.float32(spread)
    return values


@cache
def pool() -> npt.NDArray[np.float32]:
    """Four million normal numbers, drawn once; every tensor takes its own stretch of them."""
    return np.random.default_rng(2026).standard_normal(POOL, dtype=np.float32)
