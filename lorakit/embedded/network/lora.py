"""Low-rank adapters on frozen Linear and Conv2d modules, named and shaped as networks.lora and
networks.lora_flux name and shape theirs.

The adapters' weights are views into one flat tensor per group, so that clipping, averaging over
processes and the optimiser are single calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lorakit.embedded.training.randomness import seed_of


@dataclass(frozen=True)
class Shape:
    """What one adapter is: its name in the file, the module it sits on, rank and alpha, and the
    group its learning rate belongs to.
    """

    name: str
    module: nn.Module
    dim: int
    alpha: float
    group: str  # "unet", "textencoder", "textencoder 1", ...


@dataclass(frozen=True)
class Dropout:
    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    @property
    def any(self) -> bool:
        return self.neuron > 0 or self.rank > 0 or self.module > 0


class LowRankLinear(torch.autograd.Function):
    """x W' + b + scale x D' U' in one pass: the low-rank products are added in place, forward and
    backward.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.t()
        # widened only while it is used: it may be held in fewer bits
        out = F.linear(flat, weight.to(flat.dtype), bias)
        out.addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scale = scale
        ctx.shape = x.shape
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, weight, down, up = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = (grad @ up).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight.to(grad.dtype)).addmm_(grad_low, down).view(ctx.shape)
        return grad_x, None, None, grad_low.t() @ flat, (grad.t() @ low).mul_(ctx.scale), None


class Adapter:
    """One adapter; replaces its module's forward."""

    def __init__(self, shape: Shape, dropout: Dropout) -> None:
        self.name, self.group, self.module = shape.name, shape.group, shape.module
        self.dim, self.alpha, self.scale = shape.dim, shape.alpha, shape.alpha / shape.dim
        self.dropout, self.training = dropout, True
        weight = shape.module.weight
        out_dim, in_dim = weight.shape[0], weight.shape[1:]
        self.conv = weight.dim() == 4
        self.down_shape = (shape.dim, *in_dim)
        self.up_shape = (out_dim, shape.dim, 1, 1) if self.conv else (out_dim, shape.dim)
        self.down: torch.Tensor
        self.up: torch.Tensor
        self._plain = shape.module.forward
        shape.module.forward = self.forward_spelt_out if self.conv else self.forward_linear

    def forward_linear(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.module.weight, self.module.bias
        where = x.device.type
        autocast = torch.is_autocast_enabled(where)
        kind = torch.get_autocast_dtype(where) if autocast else weight.dtype
        x = x.to(kind)
        if self.training and self.dropout.any:
            return self.forward_spelt_out(x)
        bias = None if bias is None else bias.to(kind)
        down, up = self.down.to(kind), self.up.to(kind)
        return LowRankLinear.apply(x, weight, bias, down, up, self.scale)

    def forward_spelt_out(self, x: torch.Tensor) -> torch.Tensor:
        """The same sum, for convolutions and for what dropout does to it."""
        out = self._plain(x)
        dropping = self.training and self.dropout.any
        if dropping and self.dropout.module and float(torch.rand(1)) < self.dropout.module:
            return out
        kind, scale = out.dtype, self.scale
        x = x.to(kind)
        if self.conv:
            low = F.conv2d(x, self.down.to(kind), None, self.module.stride, self.module.padding)
        else:
            low = F.linear(x, self.down.to(kind))
        if dropping and self.dropout.neuron:
            low = F.dropout(low, self.dropout.neuron)
        if dropping and self.dropout.rank:
            kept = (torch.rand((low.shape[0], self.dim)) > self.dropout.rank).to(low)
            middle = (1,) * (low.dim() - 2)
            spread = (self.dim, *middle) if self.conv else (*middle, self.dim)
            low = low * kept.view(low.shape[0], *spread)
            scale /= 1.0 - self.dropout.rank
        high = F.conv2d(low, self.up.to(kind)) if self.conv else F.linear(low, self.up.to(kind))
        return out + high * scale


class Network:
    """All adapters and the flat tensors that hold their weights: one per group, or two where
    lora_up has its own rate (LoRA+).
    """

    def __init__(
        self,
        shapes: list[Shape],
        dropout: Dropout,
        *,
        seed: int,
        device: torch.device | str,
        dtype: torch.dtype,
        plus: frozenset[str] = frozenset(),
    ) -> None:
        self.adapters = [Adapter(shape, dropout) for shape in shapes]
        self.flat: dict[str, torch.Tensor] = {}
        for group in dict.fromkeys(adapter.group for adapter in self.adapters):
            members = [adapter for adapter in self.adapters if adapter.group == group]
            halves = {group: ("down",), f"{group} plus": ("up",)}
            for name, sides in (halves if group in plus else {group: ("down", "up")}).items():
                self._allot(name, [(a, side) for a in members for side in sides], device, dtype)
        for adapter in self.adapters:
            generator = torch.Generator().manual_seed(seed_of(seed, "init", adapter.name))
            # Kaiming's with a = sqrt(5), kohya's choice
            bound = 1 / math.sqrt(math.prod(adapter.down_shape[1:]))
            start = torch.empty(adapter.down_shape).uniform_(-bound, bound, generator=generator)
            with torch.no_grad():
                adapter.down.copy_(start)

    def _allot(
        self,
        group: str,
        members: list[tuple[Adapter, str]],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        shapes = [getattr(adapter, f"{side}_shape") for adapter, side in members]
        total = sum(math.prod(shape) for shape in shapes)
        flat = torch.zeros(total, device=device, dtype=dtype, requires_grad=True)
        flat.grad = torch.zeros_like(flat)
        at = 0
        for (adapter, side), shape in zip(members, shapes, strict=True):
            size = math.prod(shape)
            view = flat.detach()[at : at + size].view(shape).requires_grad_()
            # autograd adds into it, and so into the flat gradient
            view.grad = flat.grad[at : at + size].view(shape)
            setattr(adapter, side, view)
            at += size
        self.flat[group] = flat

    def parameters(self, group: str) -> list[torch.Tensor]:
        """The single matrices of a group, for optimisers that look at shapes."""
        base = group.removesuffix(" plus")
        split = f"{base} plus" in self.flat
        sides = ("up",) if group != base else ("down",) if split else ("down", "up")
        members = [adapter for adapter in self.adapters if adapter.group == base]
        return [getattr(adapter, side) for adapter in members for side in sides]

    def gradients(self) -> list[torch.Tensor]:
        return [flat.grad for flat in self.flat.values() if flat.grad is not None]

    def copies(self) -> dict[str, torch.Tensor]:
        return {group: flat.detach().clone() for group, flat in self.flat.items()}

    @torch.no_grad()
    def overwrite(self, values: Mapping[str, torch.Tensor]) -> None:
        for group, flat in self.flat.items():
            flat.copy_(values[group])

    def zero_grad(self) -> None:
        for grad in self.gradients():
            grad.zero_()

    def train(self, *, on: bool) -> None:
        for adapter in self.adapters:
            adapter.training = on

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Kohya's keys; detached copies on the CPU."""
        state: dict[str, torch.Tensor] = {}
        for adapter in self.adapters:
            state[f"{adapter.name}.alpha"] = torch.tensor(float(adapter.alpha))
            state[f"{adapter.name}.lora_down.weight"] = adapter.down.detach().to("cpu", copy=True)
            state[f"{adapter.name}.lora_up.weight"] = adapter.up.detach().to("cpu", copy=True)
        return state

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
        """Weights from a file; what the file lacks and what it has beyond us."""
        wanted = {}
        for adapter in self.adapters:
            wanted[f"{adapter.name}.lora_down.weight"] = adapter.down
            wanted[f"{adapter.name}.lora_up.weight"] = adapter.up
        for key, parameter in wanted.items():
            if key in state:
                parameter.copy_(state[key].reshape(parameter.shape))
        missing = [key for key in wanted if key not in state]
        return missing, [key for key in state if key not in wanted and not key.endswith(".alpha")]

    @torch.no_grad()
    def limit_norms(self, limit: float) -> tuple[int, float, float]:
        """Scale every adapter whose product is longer than `limit`; how many were, the mean and
        the largest norm after it.
        """
        norms, scaled = [], 0
        for adapter in self.adapters:
            up, down = adapter.up.flatten(1).float(), adapter.down.flatten(1).float()
            norm = float((up @ down).norm()) * adapter.scale
            if norm > limit:
                ratio = (limit / norm) ** 0.5
                adapter.up.mul_(ratio)
                adapter.down.mul_(ratio)
                scaled += 1
                norm = limit
            norms.append(norm)
        return scaled, sum(norms) / max(1, len(norms)), max(norms, default=0.0)
