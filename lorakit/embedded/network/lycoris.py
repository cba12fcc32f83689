"""LyCORIS' adapters, by its names and in its files (`lycoris.kohya`): LoCon with DoRA's magnitude,
LoHa and LoKr with it or without.

What they add to a layer's weight is rebuilt from its factors when it is used, forwards and again on
the way back, instead of being kept: a layer costs the memory of its factors alone. The frozen
weight and the change are multiplied apart, so that a small change is not lost in bf16's rounding.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lorakit.embedded.models.low_bits import wide_size, wide_weight
from lorakit.embedded.network.lora import Adapter, Dropout, Shape, kaiming

Factors = Mapping[str, Tensor]  # by their names in a file
Dims = dict[str, tuple[int, ...]]
UP, DOWN, MAGNITUDE = "lora_up.weight", "lora_down.weight", "dora_scale"
NOT_PLAIN = {"dora_wd", "rs_lora", "rank_dropout", "module_dropout"}
EPS = torch.finfo(torch.float32).eps  # LyCORIS adds it to a norm


def rebuilt(of: Factors) -> Tensor:
    """The change of a weight, flattened behind its first dimension, before it is scaled."""
    if UP in of:
        return of[UP].flatten(1) @ of[DOWN].flatten(1)
    if "hada_w1_a" in of:
        return _product(of, "hada_w1") * _product(of, "hada_w2")
    first, second = _product(of, "lokr_w1"), _product(of, "lokr_w2")
    both = first[:, None, :, None] * second[None, :, None, :]
    return both.reshape(first.shape[0] * second.shape[0], -1)


def _product(of: Factors, name: str) -> Tensor:
    return of[name].flatten(1) if name in of else of[f"{name}_a"] @ of[f"{name}_b"]


class RebuiltLayer(torch.autograd.Function):
    """op(x, W) + op(x, change) + b; with a magnitude m, each output times m / |W + change|."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        layer: "Rebuilt",
        kept: Tensor | None,
        *factors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, kept, *factors)
        ctx.layer = layer
        wide = wide_weight(layer.module, x.dtype)
        named = dict(zip(layer.shapes, factors, strict=True))
        change = layer.change(wide, named, kept)
        out = layer.answer(x, wide, None if MAGNITUDE in named else bias)
        out += layer.answer(x, change, None)
        if MAGNITUDE not in named:
            return out
        spread = (-1, 1, 1) if layer.conv else (-1,)
        out *= _gain(named[MAGNITUDE], wide.float() + change.float()).to(out.dtype).view(spread)
        return out if bias is None else out.add_(bias.view(spread))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *factors = ctx.saved_tensors
        layer = ctx.layer
        wide = wide_weight(layer.module, grad.dtype)
        with torch.enable_grad():
            own = [factor.detach().requires_grad_() for factor in factors]
            named = dict(zip(layer.shapes, own, strict=True))
            change = layer.change(wide, named, kept)
            if MAGNITUDE in named:
                both = (wide.float() + change.float()).flatten(1)
                weight = (both * _gain(named[MAGNITUDE], both)[:, None]).view(wide.shape)
            else:
                weight = wide + change
        effective = weight.detach().to(grad.dtype)
        of_x, of_weight = layer.pulled(grad, x, effective, wants_x=ctx.needs_input_grad[0])
        found = torch.autograd.grad(weight, own, of_weight.to(weight.dtype))
        for learned, part in zip(layer.learned().values(), found, strict=True):
            learned.grad.add_(part)
        return (of_x, *[None] * (len(factors) + 3))


def _gain(magnitude: Tensor, weight: Tensor) -> Tensor:
    """What each output is multiplied by, so that its weights have the length that is learned."""
    return magnitude.flatten() / (weight.flatten(1).norm(dim=1) + EPS)


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
                wide = wide_weight(self.module, torch.float32)
                part.copy_(wide.flatten(1).norm(dim=1).view(shape))
            elif name.startswith("hada_"):
                part.normal_(std=0.1 if name.endswith("_a") else 1.0, generator=chance)
            else:
                part.copy_(kaiming(shape, chance))
            if name in (UP, "hada_w2_a", "lokr_w2", "lokr_w2_b"):
                part.zero_()

    def learned(self) -> dict[str, Any]:
        """A magnitude needs more digits than bf16 has: it is used as it is learned."""
        names = self.shapes
        return {
            name: getattr(self, name) if name == MAGNITUDE else self.work[name] for name in names
        }

    def forward(self, x: Tensor) -> Tensor:
        parts, bias = self.learned(), self.module.bias
        x = x.to(next(part.dtype for name, part in parts.items() if name != MAGNITUDE))
        bias = None if bias is None else bias.to(x.dtype)
        return RebuiltLayer.apply(x, bias, self, self._kept_rows(x), *parts.values())

    def answer(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.conv:
            return F.conv2d(x, weight, bias, self.module.stride, self.module.padding)
        return F.linear(x, weight, bias)

    def change(self, weight: Tensor, factors: Factors, kept: Tensor | None) -> Tensor:
        delta = rebuilt(factors) * self.scale
        return (delta if kept is None else delta * kept[:, None]).view(weight.shape)

    def pulled(
        self, grad: Tensor, x: Tensor, weight: Tensor, *, wants_x: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The gradients of x, where it is asked for, and of the weight."""
        if self.conv:
            spacing = (self.module.stride, self.module.padding, (1, 1), False, (0, 0), 1)
            convolved = torch.ops.aten.convolution_backward
            of_x, of_weight, _ = convolved(grad, x, weight, None, *spacing, (wants_x, True, False))
            return of_x, of_weight
        of_weight = grad.reshape(-1, grad.shape[-1]).t() @ x.reshape(-1, x.shape[-1])
        return (grad @ weight if wants_x else None), of_weight

    def _kept_rows(self, x: Tensor) -> Tensor | None:
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


def maker(extra: Mapping[str, str]) -> Callable[[Shape, Dropout], Adapter]:
    """For the network_args of a run. LyCORIS' plain LoRA is everybody's."""
    if extra.get("algo", "lora") in ("lora", "locon") and not NOT_PLAIN & extra.keys():
        return Adapter
    return partial(Rebuilt, extra=extra)


def changed(of: Factors, weight: Tensor, strength: float) -> Tensor:
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
