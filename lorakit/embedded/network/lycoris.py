"""LyCORIS' adapters, by its names and in its files (`lycoris.kohya`): LoCon with DoRA's magnitude,
LoHa and LoKr with it or without.

What they add to a layer's weight is rebuilt from its factors when it is used, forwards and again on
the way back, instead of being kept: a layer costs the memory of its factors alone. The frozen
weight and the change are multiplied apart, so that a small change is not lost in bf16's rounding.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lorakit.embedded.models.low_bits import wide_size, wide_weight
from lorakit.embedded.network.lora import Adapter, Dropout, Shape, kaiming
from lorakit.embedded.network.targets import network_args

Factors = Mapping[str, torch.Tensor]  # by their names in a file
Dims = dict[str, tuple[int, ...]]
UP, DOWN, MAGNITUDE = "lora_up.weight", "lora_down.weight", "dora_scale"
NOT_PLAIN = {"dora_wd", "rs_lora", "rank_dropout", "module_dropout"}
EPS = torch.finfo(torch.float32).eps  # LyCORIS adds it to a norm


def rebuilt(of: Factors) -> torch.Tensor:
    """The change of a weight, flattened behind its first dimension, before it is scaled."""
    if UP in of:
        return of[UP].flatten(1) @ of[DOWN].flatten(1)
    if "hada_w1_a" in of:
        return _product(of, "hada_w1") * _product(of, "hada_w2")
    first, second = _product(of, "lokr_w1"), _product(of, "lokr_w2")
    both = first[:, None, :, None] * second[None, :, None, :]
    return both.reshape(first.shape[0] * second.shape[0], -1)


def factor_gradients(of: Factors, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """From the gradient of what `rebuilt` gave."""
    if UP in of:
        return {UP: grad @ of[DOWN].flatten(1).t(), DOWN: of[UP].flatten(1).t() @ grad}
    names = ("hada_w1", "hada_w2") if "hada_w1_a" in of else ("lokr_w1", "lokr_w2")
    first, second = (_product(of, name) for name in names)
    if names[0] == "hada_w1":
        parts = (grad * second, grad * first)
    else:
        apart = grad.view(first.shape[0], second.shape[0], first.shape[1], second.shape[1])
        parts = (
            torch.einsum("abcd,bd->ac", apart, second),
            torch.einsum("abcd,ac->bd", apart, first),
        )
    found = {}
    for name, part in zip(names, parts, strict=True):
        if name in of:
            found[name] = part
        else:
            found[f"{name}_a"] = part @ of[f"{name}_b"].t()
            found[f"{name}_b"] = of[f"{name}_a"].t() @ part
    return found


def _product(of: Factors, name: str) -> torch.Tensor:
    return of[name].flatten(1) if name in of else of[f"{name}_a"] @ of[f"{name}_b"]


@dataclass(frozen=True)
class Use:
    """How a layer uses its change."""

    names: tuple[str, ...]  # of the factors, in the order in which they are handed over
    scale: float
    apply: Callable[..., torch.Tensor]  # x, weight, bias
    stride: tuple[int, ...] | None  # None: a linear layer
    padding: tuple[int, ...]
    gradients: tuple[torch.Tensor, ...]  # where the factors' gradients are added
    layer: nn.Module  # whose frozen weight is not kept, but asked for: it may be in few bits

    def change(
        self, weight: torch.Tensor, factors: Factors, kept: torch.Tensor | None
    ) -> torch.Tensor:
        delta = rebuilt(factors) * self.scale
        return (delta if kept is None else delta * kept[:, None]).view(weight.shape)

    def pulled(
        self, grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, mask: tuple[bool, bool]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The gradients of x and of the weight, each where the mask asks for it."""
        if self.stride is not None:
            convolved = torch.ops.aten.convolution_backward
            spacing = (self.stride, self.padding, (1, 1))
            found = convolved(grad, x, weight, None, *spacing, False, (0, 0), 1, (*mask, False))
            return found[0], found[1]
        flat = grad.reshape(-1, grad.shape[-1])
        of_weight = flat.t() @ x.reshape(-1, x.shape[-1]) if mask[1] else None
        return (grad @ weight if mask[0] else None), of_weight


class RebuiltLayer(torch.autograd.Function):
    """op(x, W) + op(x, change) + b; with a magnitude m, each output times m / |W + change|."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        bias: torch.Tensor | None,
        use: Use,
        kept: torch.Tensor | None,
        *factors: torch.Tensor,
    ) -> torch.Tensor:
        named, wide = dict(zip(use.names, factors, strict=True)), wide_weight(use.layer, x.dtype)
        change = use.change(wide, named, kept)
        ctx.save_for_backward(x, kept, *factors)
        ctx.use = use
        magnitude = named.get(MAGNITUDE)
        out = use.apply(x, wide, None if magnitude is not None else bias)
        out += use.apply(x, change, None)
        if magnitude is None:
            return out
        gain = magnitude.flatten() / (_lengths(wide.float() + change.float()) + EPS)
        spread = (-1, 1, 1) if use.stride is not None else (-1,)
        out *= gain.to(out.dtype).view(spread)
        return out if bias is None else out.add_(bias.view(spread))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, kept, *factors = ctx.saved_tensors
        use, wants_x = ctx.use, ctx.needs_input_grad[0]
        named = dict(zip(use.names, factors, strict=True))
        wide = wide_weight(use.layer, grad.dtype)
        change = use.change(wide, named, kept)
        magnitude = named.get(MAGNITUDE)
        found: dict[str, torch.Tensor] = {}
        if magnitude is None:
            of_x, of_weight = use.pulled(grad, x, wide + change, (wants_x, True))
            of_weight = of_weight.flatten(1)
        else:
            both = wide.float() + change.float()
            length = _lengths(both)
            gain = magnitude.flatten() / (length + EPS)
            scaled = both * gain.view(-1, *[1] * (both.dim() - 1))
            of_x, _ = use.pulled(grad, x, scaled.to(grad.dtype), (wants_x, False))
            _, outer = use.pulled(grad, x, wide, (False, True))
            outer, both = outer.float().flatten(1), both.flatten(1)
            of_gain = (outer * both).sum(1)
            found[MAGNITUDE] = of_gain / (length + EPS)
            shrink = (found[MAGNITUDE] * gain / length.clamp(min=EPS))[:, None]
            of_weight = gain[:, None] * outer - shrink * both
        of_change = of_weight.to(grad.dtype) * use.scale
        if kept is not None:
            of_change = of_change * kept[:, None]
        found |= factor_gradients({n: f for n, f in named.items() if n != MAGNITUDE}, of_change)
        for name, gathered in zip(use.names, use.gradients, strict=True):
            gathered.add_(found[name].view(gathered.shape))
        return (of_x, *[None] * (len(factors) + 3))


def _lengths(weight: torch.Tensor) -> torch.Tensor:
    return weight.flatten(1).norm(dim=1)


class Rebuilt(Adapter):
    """One of LyCORIS' adapters; replaces its module's forward."""

    def __init__(self, shape: Shape, dropout: Dropout, extra: Mapping[str, str]) -> None:
        self.extra, self.decomposed = extra, "dora_wd" in extra
        super().__init__(shape, dropout)
        self.sides = {name: name for name in self.shapes}
        whole = {"lokr_w1", "lokr_w2"} <= self.shapes.keys()  # no rank to be scaled by
        alpha = shape.dim if whole else shape.alpha
        self.scale = alpha / (shape.dim**0.5 if "rs_lora" in extra else shape.dim)
        self.alpha = self.scale * shape.dim

    def layout(self, shape: Shape) -> Dims:
        size, rank, algo = wide_size(shape.module), shape.dim, self.extra.get("algo")
        wide = math.prod(size[1:])
        if algo == "loha":
            dims: Dims = {}
            for name in ("hada_w1", "hada_w2"):
                dims |= {f"{name}_a": (size[0], rank), f"{name}_b": (rank, wide)}
        elif algo == "lokr":
            dims = self._kronecker(size, rank)
        else:
            spread = (1, 1) if self.conv else ()
            dims = {UP: (size[0], rank, *spread), DOWN: (rank, *size[1:])}
        if self.decomposed:
            dims[MAGNITUDE] = (size[0], *[1] * (len(size) - 1))
        return dims

    def _kronecker(self, size: tuple[int, ...], rank: int) -> Dims:
        factor, full = int(self.extra.get("factor", -1)), "full_matrix" in self.extra
        (a, b), (c, d) = (factors_of(side, factor) for side in size[:2])
        dims: Dims = {"lokr_w1": (a, c)}
        if "decompose_both" in self.extra and rank < max(a, c) / 2 and not full:
            dims = {"lokr_w1_a": (a, rank), "lokr_w1_b": (rank, c)}
        if rank >= max(b, d) / 2 or full:
            return {**dims, "lokr_w2": (b, d, *size[2:])}
        return {**dims, "lokr_w2_a": (b, rank), "lokr_w2_b": (rank, d * math.prod(size[2:]))}

    def start(self, chance: torch.Generator) -> None:
        """As LyCORIS begins: the change is 0, and the magnitude the weight's own."""
        for name, shape in self.shapes.items():
            part = getattr(self, name)
            if name == MAGNITUDE:
                part.copy_(_lengths(wide_weight(self.module, torch.float32)).view(shape))
            elif name.startswith("hada_"):
                part.normal_(std=0.1 if name.endswith("_a") else 1.0, generator=chance)
            else:
                part.copy_(kaiming(shape, chance))
            if name in (UP, "hada_w2_a", "lokr_w2", "lokr_w2_b"):
                part.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        module, names = self.module, tuple(self.shapes)
        # a magnitude needs more digits than bf16 has: the learned one is used
        parts = [getattr(self, n) if n == MAGNITUDE else self.work[n] for n in names]
        kind = next(p.dtype for n, p in zip(names, parts, strict=True) if n != MAGNITUDE)
        x, apply, geometry = x.to(kind), F.linear, (None, ())
        if self.conv:
            apply = partial(F.conv2d, stride=module.stride, padding=module.padding)
            geometry = module.stride, module.padding
        gradients = tuple(part.grad for part in parts)
        use = Use(names, self.scale, apply, *geometry, gradients, module)
        bias = None if module.bias is None else module.bias.to(kind)
        return RebuiltLayer.apply(x, bias, use, self._kept_rows(x), *parts)

    def _kept_rows(self, x: torch.Tensor) -> torch.Tensor | None:
        """Which outputs are changed: LyCORIS' rank_dropout; its module_dropout is all or none."""
        drop = self.dropout
        if not (self.training and (drop.rank or drop.module)):
            return None
        chance = torch.rand(wide_size(self.module)[0], device=x.device) > drop.rank
        return (chance & (torch.rand(1, device=x.device) >= drop.module)).to(x.dtype)


def factors_of(dimension: int, factor: int) -> tuple[int, int]:
    """LyCORIS' way to take a number apart, the smaller first: as near to each other as they can be,
    the smaller at most `factor`; or `factor` itself, where it divides.
    """
    if factor > 0 and dimension % factor == 0:
        return min(factor, dimension // factor), max(factor, dimension // factor)
    limit = dimension if factor < 0 else factor
    pairs = [(m, dimension // m) for m in range(1, limit + 1) if dimension % m == 0]
    small = [pair for pair in pairs if pair[0] <= pair[1]]
    return small[-1]


def maker(args: argparse.Namespace) -> Callable[[Shape, Dropout], Adapter]:
    """LyCORIS' plain LoRA is everybody's."""
    extra = network_args(args)
    if extra.get("algo", "lora") in ("lora", "locon") and not NOT_PLAIN & extra.keys():
        return Adapter
    return partial(Rebuilt, extra=extra)


def changed(of: Factors, weight: torch.Tensor, strength: float) -> torch.Tensor:
    """A weight that wears a file's adapter; between none and all of it as ComfyUI does."""
    parts = {name: part.float().to(weight.device) for name, part in of.items()}
    alpha, magnitude = parts.pop("alpha", None), parts.pop(MAGNITUDE, None)
    ranks = [p.shape[0] for n, p in parts.items() if n == DOWN or n.endswith("_b")]
    scale = 1.0 if alpha is None or not ranks else float(alpha) / ranks[0]
    change, wide = scale * rebuilt(parts).view(weight.shape), weight.float()
    if magnitude is not None:
        both = wide + change
        over = [dim for dim in range(both.dim()) if magnitude.shape[dim] == 1]
        change = both * (magnitude / (both.norm(dim=over, keepdim=True) + EPS)) - wide
    return (wide + strength * change).to(weight.dtype)
