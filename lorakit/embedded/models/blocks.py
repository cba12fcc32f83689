"""What the networks share: refusing other variants, recomputing and swapping of blocks, sinusoids,
attention, a convolution that is quick on a CPU.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lorakit import json_text
from lorakit.embedded.models import fused
from lorakit.embedded.models.swap import BlockSwap
from lorakit.errors import SetupError

Run = Callable[..., Any]
IMPLEMENTED = Path(__file__).parent / "configs" / "implemented.json"


def require(config: Mapping[str, Any], what: str) -> None:
    """Refuse a variant of the architecture that is not written here, by its setting."""
    for key, allowed in json_text.read(IMPLEMENTED)[what].items():
        given = config.get(key, allowed[0])
        for one in given if isinstance(given, list) else [given]:
            if one not in allowed:
                said = f"{what}: {key} = {one!r} is not implemented by the embedded trainer."
                raise SetupError(said, hint='Use trainer = "kohya".')


class Network(nn.Module):
    """Knows its settings, and which of its blocks are recomputed or fetched from the host."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.swap: BlockSwap | None = None
        self.kept: set[nn.Module] = set()  # blocks that are not recomputed all the same
        self.draws = False

    def enable_gradient_checkpointing(self, share: float = 1.0, *, draws: bool = False) -> None:
        """`draws`: something in them is drawn by chance, which has to come out the same again."""
        self.gradient_checkpointing, self.draws = share > 0, draws
        units = self.units()
        marks = zip(units, chosen(len(units), share), strict=True)
        self.kept = {unit for unit, again_ in marks if not again_}

    def units(self) -> list[nn.Module]:
        """What `run` is asked for, in order; without any, all is recomputed or nothing."""
        return []

    def swappable(self, count: int) -> list[nn.Module]:
        """So many of its blocks, as kohya counts them, in the order in which `run` gets them."""
        raise NotImplementedError

    def run(self, block: Callable[..., Any], *inputs: Any) -> Any:
        if self.swap is not None and block in self.swap.places and torch.is_grad_enabled():
            # its weights are only passing through, so what they computed is not kept
            return checkpoint(self.swap.around(block), *inputs, use_reentrant=False)
        block = self.swap.around(block) if self.swap is not None else block
        keep = not self.gradient_checkpointing or block in self.kept
        if keep or not torch.is_grad_enabled():
            return block(*inputs)
        if self.draws:
            return checkpoint(block, *inputs, use_reentrant=False)
        return again(block, *inputs)

    def inside(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """A block whose own parts are what `run` recomputes; blocks that are swapped go whole."""
        if self.swap is not None:
            return self.run(block, *inputs)
        return block(*inputs, self.run)


class Again(torch.autograd.Function):
    """A block that is computed again on the way back instead of being kept: less memory, more work.
    Forwards nothing is kept but what came in. Lighter than torch's own checkpoint, which looks at
    every tensor that would be kept; and it asks nothing of the host.
    """

    @staticmethod
    def forward(ctx: Any, block: Callable[..., Any], *inputs: Any) -> Any:
        ctx.block = block
        ctx.tensors = [place for place, one in enumerate(inputs) if torch.is_tensor(one)]
        ctx.others = [None if torch.is_tensor(one) else one for one in inputs]
        ctx.save_for_backward(*[inputs[place] for place in ctx.tensors])
        ctx.set_materialize_grads(False)
        return block(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        inputs = list(ctx.others)
        for place, tensor in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            wanted = ctx.needs_input_grad[place + 1]
            inputs[place] = tensor.detach().requires_grad_(wanted)
        with torch.enable_grad():
            out = ctx.block(*inputs)
        outs = out if isinstance(out, tuple) else (out,)
        pairs = [pair for pair in zip(outs, grads, strict=True) if pair[1] is not None]
        torch.autograd.backward([one for one, _ in pairs], [grad for _, grad in pairs])
        return (None, *[one.grad if torch.is_tensor(one) else None for one in inputs])


def again(block: Callable[..., Any], *inputs: Any) -> Any:
    """Where nothing that comes in learns, there is no way back to compute it on: it is kept."""
    if not any(torch.is_tensor(one) and one.requires_grad for one in inputs):
        return block(*inputs)
    return Again.apply(block, *inputs)


def chosen(count: int, share: float) -> list[bool]:
    """Which of so many blocks are recomputed, evenly spread."""
    return [int((place + 1) * share + 1e-9) > int(place * share + 1e-9) for place in range(count)]


def sinusoid(steps: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of the steps at `width / 2` frequencies, in float32."""
    half = width // 2
    places = torch.arange(half, dtype=torch.float32, device=steps.device)
    rates = torch.exp(-math.log(10000.0) * places / half)
    angles = steps.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def embedder(width_in: int, width: int, first: str, second: str) -> nn.Sequential:
    """Two layers under names of their own."""
    layers = {first: nn.Linear(width_in, width), "act": nn.SiLU()}
    return nn.Sequential(OrderedDict({**layers, second: nn.Linear(width, width)}))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, **how: Any) -> Tensor:
    """Attention over (batch, length, heads x width), in and out; `how` is torch's own."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2)


class Conv2d(nn.Conv2d):
    """A convolution that is a matrix product where the picture is small and the weights are large,
    on the CPU.

    There torch either reorders the weights at every call or multiplies them the slow way round: up
    to nine times slower, measured.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1) or not _small(x, self.weight):
            return super().forward(x)
        cols = F.unfold(x, self.kernel_size, padding=self.padding).transpose(1, 2)
        rows = F.linear(cols, self.weight.flatten(1), self.bias).transpose(1, 2)
        return rows.unflatten(2, tuple(x.shape[-2:]))


def _small(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    places = x.shape[0] * x.shape[2] * x.shape[3]
    return places <= 16 or (places <= 64 and weight.shape[0] * weight.shape[1] >= 1_200_000)


class NormedSiLU(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return fused.normed_silu(x, self.num_groups, self.weight, self.bias, self.eps)


class ResnetBlock2D(nn.Module):
    def __init__(
        self, width_in: int, width: int, time_width: int | None, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = NormedSiLU(groups, width_in, eps=eps)
        self.conv1 = Conv2d(width_in, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, width) if time_width else None
        self.norm2 = NormedSiLU(groups, width, eps=eps)
        self.conv2 = Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = Conv2d(width_in, width, 1) if width_in != width else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(self.norm1(x))
        if self.time_emb_proj is not None and time is not None:
            h = h + self.time_emb_proj(time)[:, :, None, None]  # its SiLU is applied already
        h = self.conv2(self.norm2(h))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h


class Downsample2D(nn.Module):
    """Half the size; the VAE pads right and below only."""

    def __init__(self, width: int, *, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv = Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Upsample2D(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        size = size or [2 * length for length in x.shape[-2:]]
        return self.conv(F.interpolate(x, size=list(size), mode="nearest"))


class Stage(nn.Module):
    """Resnets, an attention after each of them or none, and a change of size at the end or none."""

    def __init__(
        self,
        resnets: Iterable[nn.Module],
        attentions: Iterable[nn.Module] = (),
        *,
        down: nn.Module | None = None,
        up: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList([down] if down else [])
        self.upsamplers = nn.ModuleList([up] if up else [])


class Middle(nn.Module):
    def __init__(self, attention: nn.Module, resnets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([attention])
        self.resnets = nn.ModuleList(resnets)
