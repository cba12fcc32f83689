"""Blocks that are computed again on the way back instead of being kept: less memory, more work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Again(torch.autograd.Function):
    """Forwards nothing is kept but what came in. Lighter than torch's own checkpoint, which looks
    at every tensor that would be kept; and it asks nothing of the host.
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
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
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
