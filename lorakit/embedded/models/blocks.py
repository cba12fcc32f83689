"""What the networks share: settings that read like attributes, sinusoidal embeddings,
checkpointing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lorakit.embedded.models.recompute import again, chosen
from lorakit.embedded.models.swap import Swap
from lorakit.errors import SetupError

Run = Callable[..., Any]


class Config(dict[str, Any]):
    """A model's config.json; the pipelines of diffusers read the same settings as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def require(config: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]], what: str) -> None:
    """Refuse a variant of the architecture that is not written here, by its setting."""
    for key, allowed in expected.items():
        if key in config and config[key] not in allowed:
            raise SetupError(
                f"{what}: {key} = {config[key]!r} is not implemented by the embedded trainer.",
                hint='Use trainer = "kohya".',
            )


class Network(nn.Module):
    """A module that knows its settings, its type and its place, and whether it recomputes its
    blocks in the backward pass.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = Config(config)
        self.gradient_checkpointing = False
        self.swap: Swap | None = None
        self.kept: set[nn.Module] = set()  # blocks that are not recomputed all the same
        self.draws = False

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def enable_gradient_checkpointing(self, share: float = 1.0, *, draws: bool = False) -> None:
        """Recompute so many of the blocks. `draws`: something in them is drawn by chance, which has
        to come out the same again.
        """
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


def directly(block: Callable[..., Any], *inputs: Any) -> Any:
    return block(*inputs)


def sinusoid(steps: torch.Tensor, width: int, *, max_period: float = 10000.0) -> torch.Tensor:
    """Cosines, then sines, of the steps at `width / 2` frequencies, in float32."""
    half = width // 2
    places = torch.arange(half, dtype=torch.float32, device=steps.device)
    rates = torch.exp(-math.log(max_period) * places / half)
    angles = steps.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention over (batch, length, heads x width), in and out."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class Conv2d(nn.Conv2d):
    """A convolution that is a matrix product where the picture is small and the weights are large,
    on the CPU.

    There torch either reorders the weights at every call or multiplies them the slow way round: up
    to nine times slower, measured.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride != (1, 1) or not _small(x, self.weight):
            return super().forward(x)
        cols = F.unfold(x, self.kernel_size, padding=self.padding).transpose(1, 2)
        rows = F.linear(cols, self.weight.flatten(1), self.bias).transpose(1, 2)
        return rows.unflatten(2, tuple(x.shape[-2:]))


def _small(x: torch.Tensor, weight: torch.Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    places = x.shape[0] * x.shape[2] * x.shape[3]
    return places <= 16 or (places <= 64 and weight.shape[0] * weight.shape[1] >= 1_200_000)
