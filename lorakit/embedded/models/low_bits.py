"""Frozen linear layers in few bits. `fp8_base` keeps eight and computes wide, as kohya does.
`frozen_linear` multiplies in what it keeps: "fp8" and "int8", with a scale for every row of both
factors, forwards and for the gradient of the input; "nf4" keeps four bits and computes wide.

A product on a card goes through torch's own kernels; elsewhere its twin computes the same numbers
one after another, which is how the tests judge it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

E4M3 = torch.float8_e4m3fn
FEW_ROWS = 16  # of x: below, the kernels do not work or do not pay, and the weight is widened
BLOCK = 64  # weights that share a scale in nf4


class Frozen:
    """One layer's weight. What it consists of belongs to the module, so that it moves with it."""

    def __init__(self, module: Any, device: torch.device | None = None) -> None:
        self.module = module
        self.keep(module.weight.detach().to(device))
        module.frozen = self

    def keep(self, weight: Tensor) -> None:
        self.module.weight = nn.Parameter(weight.to(E4M3), requires_grad=False)

    def wide(self, kind: torch.dtype) -> Tensor:
        return self.module.weight.to(kind)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Of rows."""
        return F.linear(x, self.wide(x.dtype), bias)

    def pull(self, grad: Tensor) -> Tensor:
        """The gradient of x."""
        return grad @ self.wide(grad.dtype)


class Scaled(Frozen):
    """Every output's weights are numbers of `kind` times a scale of its own."""

    kind: torch.dtype
    most: float
    multiplied: Callable[..., Tensor]  # two factors, and the scales of their rows and columns

    def keep(self, weight: Tensor) -> None:
        few, scale = self.rows(weight)
        self.module.weight = nn.Parameter(few, requires_grad=False)
        self.module.register_buffer("weight_scale", scale)

    def rows(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        wide = wide.float()
        scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / self.most
        few = wide / scale if self.kind.is_floating_point else (wide / scale).round()
        return few.clamp(-self.most, self.most).to(self.kind), scale

    def wide(self, kind: torch.dtype) -> Tensor:
        return (self.module.weight.float() * self.module.weight_scale).to(kind)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if len(x) <= FEW_ROWS:
            return super().product(x, bias)
        few, scale = self.rows(x)
        out = self.multiplied(few, self.module.weight.t(), scale, self.module.weight_scale.t())
        return out.to(x.dtype) if bias is None else out.to(x.dtype) + bias

    def pull(self, grad: Tensor) -> Tensor:
        """The weights' scales lie along what is summed over: the gradient takes them with it."""
        if len(grad) <= FEW_ROWS:
            return super().pull(grad)
        few, scale = self.rows(grad * self.module.weight_scale.t().to(grad.dtype))
        # both factors must lie in memory along what is summed over
        weight = self.module.weight.t().contiguous().t()
        one = torch.ones_like(scale[:1]).expand(1, weight.shape[1])
        return self.multiplied(few, weight, scale, one).to(grad.dtype)


def _fp8_product(left: Tensor, right: Tensor, of_left: Tensor, of_right: Tensor) -> Tensor:
    if not left.is_cuda:
        return (left.float() @ right.float()) * of_left * of_right
    product = torch._scaled_mm  # noqa: SLF001 - torch's only door to it
    kind = torch.bfloat16  # the one that it knows with scales by row
    return product(left, right, scale_a=of_left, scale_b=of_right.contiguous(), out_dtype=kind)


def _int8_product(left: Tensor, right: Tensor, of_left: Tensor, of_right: Tensor) -> Tensor:
    product = torch._int_mm  # noqa: SLF001 - torch's only door to it
    return product(left, right).float() * of_left * of_right


class Fp8(Scaled):
    kind, most, multiplied = E4M3, 448.0, staticmethod(_fp8_product)


class Int8(Scaled):
    kind, most, multiplied = torch.int8, 127.0, staticmethod(_int8_product)


class Nf4(Frozen):
    """Sixteen values of a normal distribution (arXiv 2305.14314), two to a byte, a scale for 64."""

    def keep(self, weight: Tensor) -> None:
        blocks = F.pad(weight.float().flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
        scale = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        edges = ((table := normal_values(weight.device))[1:] + table[:-1]) / 2
        places = torch.bucketize(blocks / scale, edges).to(torch.uint8).view(-1, 2)
        packed = places[:, 0] << 4 | places[:, 1]
        self.module.weight = nn.Parameter(packed, requires_grad=False)
        self.module.register_buffer("weight_scale", scale)
        self.module.register_buffer("weight_values", table)

    def wide(self, kind: torch.dtype) -> Tensor:
        module, packed = self.module, self.module.weight
        places = torch.stack([packed >> 4, packed & 15], dim=1).view(-1, BLOCK).int()
        count = module.out_features * module.in_features
        found = (module.weight_values[places] * module.weight_scale).flatten()[:count]
        return found.view(module.out_features, module.in_features).to(kind)


def normal_values(device: torch.device) -> Tensor:
    """From -1 to 1: eight above zero, seven below, and zero."""
    far = 0.9677083
    above, below = (torch.linspace(far, 0.5, n, dtype=torch.float64)[:-1] for n in (9, 8))
    values = torch.cat([torch.special.ndtri(above), -torch.special.ndtri(below), torch.zeros(1)])
    return (values.sort().values / values.max()).float().to(device)


FORMS: dict[str, type[Frozen]] = {"fp8": Fp8, "int8": Int8, "nf4": Nf4}


class FrozenProduct(torch.autograd.Function):
    """Widened when it is used, and again on the way back, instead of being kept wide for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frozen: Frozen, bias: Tensor | None) -> Tensor:
        ctx.frozen = frozen
        rows = x.reshape(-1, x.shape[-1])
        return frozen.product(rows, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows = grad.reshape(-1, grad.shape[-1])
        return ctx.frozen.pull(rows).view(*grad.shape[:-1], -1), None, None


def shrink(
    network: nn.Module,
    compute: torch.dtype,
    form: str | None = None,
    device: torch.device | None = None,
) -> nn.Module:
    """Every Linear's weight in few bits, on the device, which never holds it wide; `compute` is the
    type of what goes in and out. Without a form as `fp8_base` has it.
    """
    kind = FORMS[form] if form else Frozen
    for module in network.modules():
        if type(module) is not nn.Linear:
            continue
        odd = any(side % 16 for side in wide_size(module))  # the kernels take multiples of it
        if not (odd and issubclass(kind, Scaled)):
            module.forward = partial(_forward, kind(module, device), compute)
    return network


def _forward(frozen: Frozen, compute: torch.dtype, x: Tensor) -> Tensor:
    bias = frozen.module.bias
    return FrozenProduct.apply(x.to(compute), frozen, None if bias is None else bias.to(compute))


def wide_size(module: nn.Module) -> tuple[int, ...]:
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return tuple(module.weight.shape)


def wide_weight(module: nn.Module, kind: torch.dtype) -> Tensor:
    """A layer's weight, however it is kept."""
    frozen = getattr(module, "frozen", None)
    return module.weight.to(kind) if frozen is None else frozen.wide(kind)
