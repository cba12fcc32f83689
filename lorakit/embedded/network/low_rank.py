"""A frozen layer and its low-rank change in one pass. The gradients of the change are added where
the optimiser finds them, so that autograd has nothing to gather.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from lorakit.embedded.models.low_bits import Frozen

Gradients = tuple[torch.Tensor, Sequence[torch.Tensor]]


class LowRankLinear(torch.autograd.Function):
    """x W' + b + scale x D' U' in one pass: the low-rank products are added in place, forward and
    backward, and the gradients of D and U where the optimiser finds them. The weight may be held in
    few bits. W and D may be those of several layers, whose answers then lie side by side.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | Frozen,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        ups: Sequence[torch.Tensor],
        scale: float,
        gradients: Gradients,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.t()
        kept, ctx.frozen = (None, weight) if isinstance(weight, Frozen) else (weight, None)
        frozen = ctx.frozen
        out = F.linear(flat, weight, bias) if frozen is None else frozen.product(flat, bias)
        for up, part, inner in _columns(ups, out, low):
            part.addmm_(inner, up.t(), alpha=scale)
        ctx.save_for_backward(flat, low, kept, down, *ups)
        ctx.scale, ctx.shape, ctx.gradients = scale, x.shape, gradients
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, weight, down, *ups = ctx.saved_tensors
        of_down, of_ups = ctx.gradients
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = torch.empty_like(low)
        for up, part, inner in _columns(ups, grad, grad_low):
            torch.mm(part, up, out=inner)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight if ctx.frozen is None else ctx.frozen.pull(grad)
            grad_x = grad_x.addmm_(grad_low, down, alpha=ctx.scale).view(ctx.shape)
        of_down.addmm_(grad_low.t(), flat, alpha=ctx.scale)
        for of_up, part, inner in _columns(of_ups, grad, low):
            of_up.addmm_(part.t(), inner, alpha=ctx.scale)
        return grad_x, None, None, None, None, None, None


def _columns(ups: Sequence[torch.Tensor], wide: torch.Tensor, low: torch.Tensor) -> Iterator[Any]:
    """Each up matrix, and its own columns of what is as wide as the answers, and as the ranks."""
    wides = wide.split([up.shape[0] for up in ups], dim=1)
    return zip(ups, wides, low.split([up.shape[1] for up in ups], dim=1), strict=True)


class LowRankPixels(torch.autograd.Function):
    """The same for a convolution that looks at one pixel at a time, without turning the picture."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        ups: Sequence[torch.Tensor],
        scale: float,
        gradients: Gradients,
    ) -> torch.Tensor:
        flat, weight = x.flatten(2), weight.flatten(1)
        down, up = down.flatten(1), ups[0].flatten(1)
        low = torch.bmm(_each(down, flat), flat)
        wide = _each(weight.to(flat.dtype), flat)
        out = torch.bmm(wide, flat) if bias is None else torch.baddbmm(bias[:, None], wide, flat)
        out.baddbmm_(_each(up, flat), low, alpha=scale)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scale, ctx.shape, ctx.gradients = scale, x.shape, gradients
        return out.unflatten(2, x.shape[2:])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, weight, down, up = ctx.saved_tensors
        of_down, of_up = (part.flatten(1) for part in (ctx.gradients[0], *ctx.gradients[1]))
        grad = grad.flatten(2)
        grad_low = torch.bmm(_each(up.t(), grad), grad)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.bmm(_each(weight.t().to(grad.dtype), grad), grad)
            grad_x.baddbmm_(_each(down.t(), grad), grad_low, alpha=ctx.scale)
            grad_x = grad_x.view(ctx.shape)
        of_down.addbmm_(grad_low, flat.transpose(1, 2), alpha=ctx.scale)
        of_up.addbmm_(grad, low.transpose(1, 2), alpha=ctx.scale)
        return grad_x, None, None, None, None, None, None


def _each(matrix: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    return matrix.expand(len(batch), -1, -1)
