"""Layers that are given the same, as one product: an attention's queries, keys and values."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lorakit.embedded.network.lora import WIDE, Network
from lorakit.embedded.network.low_rank import LowRankLinear


def joint_product(network: Network, layers: Sequence[nn.Module]) -> Any:
    """None where chance drops something, the weights lie apart, or one is in few bits or has no
    adapter like the rest.
    """
    of = {adapter.module: adapter for adapter in network.adapters}
    adapters = [of[layer] for layer in layers if layer in of and layer.weight.dtype in WIDE]
    downs, ups = ([one.work[side] for one in adapters] for side in ("down", "up"))
    alike = len(adapters) == len(layers) and len({one.scale for one in adapters}) == 1
    down: Any = stacked([one.detach() for one in downs]) if alike and not network.draws else None
    if down is None or stacked([layer.weight.data for layer in layers]) is None:
        return None
    down.requires_grad_()
    gradients = stacked([one.grad for one in downs]), tuple(up.grad for up in ups)
    kept = (None, down, ups, adapters[0].scale, gradients)
    widths = [len(up) for up in ups]

    def product(x: Tensor) -> Sequence[Tensor]:
        weight = stacked([layer.weight.data for layer in layers])
        if weight is None:  # those of a swapped block, which has its own order
            return [layer(x) for layer in layers]
        return LowRankLinear.apply(x.to(down.dtype), weight, *kept).split(widths, dim=-1)

    return product


def stacked(matrices: Sequence[Any]) -> Tensor | None:
    """Their rows as one matrix, where they lie one behind the other in memory."""
    first, last = matrices[0], matrices[-1]
    ends = [one.data_ptr() + one.nbytes for one in matrices]
    apart = [one.data_ptr() for one in matrices[1:]] != ends[:-1]
    if apart or first.untyped_storage().data_ptr() != last.untyped_storage().data_ptr():
        return None
    return first.as_strided((sum(map(len, matrices)), first.shape[1]), first.stride())
