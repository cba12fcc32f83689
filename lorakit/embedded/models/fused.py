"""The elementwise work between a block's products: functions of numbers alone. With `torch_compile`
torch's compiler makes one kernel of each, for every size of picture; else, and where nothing is
learned, they are what is written here.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lorakit.config import cache_dir

MOST = 16  # kernels of one function: other types, or sizes that are treated apart
Function = Callable[..., Tensor]
FUSIBLE: list[Function] = []
_at_work: dict[Function, Function] = {}  # while something is learned


def fusible(plain: Function) -> Function:
    FUSIBLE.append(plain)

    def chosen(*given: Any) -> Tensor:
        return _at_work.get(plain, plain)(*given)

    return chosen


@fusible
def gated(both: Tensor) -> Tensor:
    value, gate = both.chunk(2, dim=-1)
    return value * F.gelu(gate)


@fusible
def normed_silu(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.silu(F.group_norm(x, groups, weight, bias, eps))


@fusible
def shifted(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


@fusible
def added(x: Tensor, gate: Tensor, more: Tensor) -> Tensor:
    return x + gate * more


@fusible
def beside(left: Tensor, right: Tensor) -> Tensor:
    return torch.cat([left, F.gelu(right, approximate="tanh")], dim=-1)


@fusible
def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Neighbouring pairs of features as complex numbers, turned by one product in float32. The
    compiler knows no complex numbers: there it is four products, to the same bytes.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if not torch.compiler.is_compiling():
        pairs = torch.view_as_complex(pairs) * torch.view_as_complex(rotation)
        return torch.view_as_real(pairs).flatten(-2).to(x.dtype)
    (a, b), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)


def compiled() -> dict[Function, Function]:
    """What `standing_in` may put in their place. Nothing is compiled before it is used."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "embedded" / "inductor"))
    torch._dynamo.config.recompile_limit = MOST  # noqa: SLF001 - the only door to it
    return {one: torch.compile(one, fullgraph=True, dynamic=True) for one in FUSIBLE}


@contextlib.contextmanager
def standing_in(functions: dict[Function, Function]) -> Iterator[None]:
    _at_work.update(functions)
    try:
        yield
    finally:
        _at_work.clear()
