"""`fp8_base`: the frozen network's linear layers held in eight bits, half as large as bf16 and
slightly coarser.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

KIND = torch.float8_e4m3fn


class FrozenLinear(torch.autograd.Function):
    """Widens the weight when it is used, and again on the way back, instead of keeping the wide
    one for the way back.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight.to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return grad @ weight.to(grad.dtype), None, None


def shrink(network: nn.Module, compute: torch.dtype) -> nn.Module:
    """Every Linear's weight to eight bits; `compute` is the type of what goes in and out."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(module.weight.to(KIND), requires_grad=False)
            module.forward = _forward(module, compute)
    return network


def _forward(module: nn.Linear, compute: torch.dtype) -> Any:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return FrozenLinear.apply(
            x.to(compute), module.weight, None if module.bias is None else module.bias.to(compute)
        )

    return forward
