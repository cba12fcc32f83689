"""Layers that are given the same, as one product: an attention's queries, keys and values."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorakit.embedded.network.lora import WIDE, Adapter, Network
from lorakit.embedded.network.low_rank import LowRankLinear


class Together:
    """Their adapters are plain ones, whose downs lie one behind the other. The frozen weights are
    made to; where a swapped block's do not, each layer answers by itself.
    """

    def __init__(self, adapters: Sequence[Adapter], down: Tensor, of_down: Tensor) -> None:
        self.layers = [adapter.module for adapter in adapters]
        self.widths = [len(layer.weight) for layer in self.layers]
        self.down, self.scale = down.requires_grad_(), adapters[0].scale
        self.ups = tuple(adapter.work["up"] for adapter in adapters)
        self.gradients = (of_down, tuple(up.grad for up in self.ups))
        if self.weight() is None:
            rows = torch.cat([layer.weight.data for layer in self.layers]).split(self.widths)
            for layer, own in zip(self.layers, rows, strict=True):
                layer.weight.data = own

    def weight(self) -> Tensor | None:
        return stacked([layer.weight.data for layer in self.layers])

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        weight = self.weight()
        if weight is None:
            return [layer(x) for layer in self.layers]
        given = (x.to(self.down.dtype), weight, None, self.down, self.ups)
        out = LowRankLinear.apply(*given, self.scale, self.gradients)
        return out.split(self.widths, dim=-1)


def together(network: Network, layers: Sequence[nn.Module]) -> Together | None:
    """None where one of them has no adapter, or one that is not plain."""
    of = {adapter.module: adapter for adapter in network.adapters}
    adapters = [of[layer] for layer in layers if layer in of]
    plain = all(type(one) is Adapter and not one.dropout.any for one in adapters)
    kinds = {(one.scale, one.module.weight.dtype) for one in adapters}
    if (
        {kind for _, kind in kinds} - {*WIDE}
        or len(adapters) < len(layers)
        or not plain
        or len(kinds) > 1
    ):
        return None
    downs = [adapter.work["down"].detach() for adapter in adapters]
    down, of_down = stacked(downs), stacked([one.work["down"].grad for one in adapters])
    return None if down is None or of_down is None else Together(adapters, down, of_down)


def stacked(matrices: Sequence[Tensor]) -> Tensor | None:
    """Their rows as one matrix, where they lie one behind the other in memory."""
    first = matrices[0]
    memory, at = first.untyped_storage().data_ptr(), first.data_ptr()
    for one in matrices:
        if (one.untyped_storage().data_ptr(), one.data_ptr()) != (memory, at):
            return None
        at += one.numel() * one.element_size()
    return first.as_strided((sum(map(len, matrices)), first.shape[1]), first.stride())
