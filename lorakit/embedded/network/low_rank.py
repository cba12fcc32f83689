"""A frozen layer and its low-rank change in one pass. The gradients of the change are added where
the optimiser finds them, so that autograd has nothing to gather.
"""

from typing import Any

import torch
from torch.nn import functional as F

from lorakit.embedded.models.low_bits import Frozen

Gradients = tuple[torch.Tensor, torch.Tensor]


class LowRankLinear(torch.autograd.Function):
    """x W' + b + scale x D' U' in one pass: the low-rank products are added in place, forward and
    backward, and the gradients of D and U where the optimiser finds them. The weight may be held in
    few bits.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | Frozen,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        gradients: Gradients,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.t()
        kept, ctx.frozen = (None, weight) if isinstance(weight, Frozen) else (weight, None)
        frozen = ctx.frozen
        out = F.linear(flat, weight, bias) if frozen is None else frozen.product(flat, bias)
        out.addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(flat, low, kept, down, up)
        ctx.scale, ctx.shape, ctx.gradients = scale, x.shape, gradients
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, weight, down, up = ctx.saved_tensors
        of_down, of_up = ctx.gradients
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = grad @ up
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight if ctx.frozen is None else ctx.frozen.pull(grad)
            grad_x = grad_x.addmm_(grad_low, down, alpha=ctx.scale).view(ctx.shape)
        of_down.addmm_(grad_low.t(), flat, alpha=ctx.scale)
        of_up.addmm_(grad.t(), low, alpha=ctx.scale)
        return grad_x, None, None, None, None, None, None


class LowRankPixels(torch.autograd.Function):
    """The same for a convolution that looks at one pixel at a time, without turning the picture."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        gradients: Gradients,
    ) -> torch.Tensor:
        flat, weight = x.flatten(2), weight.flatten(1)
        down, up = down.flatten(1), up.flatten(1)
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
        of_down, of_up = (part.flatten(1) for part in ctx.gradients)
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
