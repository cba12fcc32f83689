"""Blocks whose frozen weights lie in the host's memory (`blocks_to_swap`) and come to the device
when their turn is near. They are never written back: nothing changes them.

Two slots on the device: one block computes while the next is copied, forwards and, with
checkpointing, backwards. The host waits for nothing here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes, so that any type may begin there


def spread(blocks: Sequence[nn.Module], count: int) -> list[nn.Module]:
    """So many of them, as evenly as can be: what stays gives time to copy what does not."""
    return [blocks[int((place + 0.5) * len(blocks) / count)] for place in range(count)]


class BlockSwap:
    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self.device = device
        self.copier = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.places = {block: place for place, block in enumerate(blocks)}
        self.tensors = [[*block.parameters(), *block.buffers()] for block in blocks]
        self.host = [self._packed(tensors) for tensors in self.tensors]
        size = max(len(packed) for packed in self.host)
        self.slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2)]
        self.holds = [-1, -1]  # the place of the block in each slot
        self.ready: list[torch.cuda.Event | None] = [None, None]
        self.slot, self.place = 0, -1  # in use

    def _packed(self, tensors: Sequence[Tensor]) -> Tensor:
        sizes = [-(-one.numel() * one.element_size() // ALIGNED) * ALIGNED for one in tensors]
        packed = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=self.copier is not None)
        for one, view in zip(tensors, _views(packed, tensors), strict=True):
            view.copy_(one.data)
            one.data = view
        return packed

    def stay(self, network: nn.Module) -> None:
        """Everything else of the network goes to the device, once."""
        swapped = {id(one) for tensors in self.tensors for one in tensors}
        for one in (*network.parameters(), *network.buffers()):
            if id(one) not in swapped:
                one.data = one.data.to(self.device)

    def around(self, block: Callable[..., Any]) -> Callable[..., Any]:
        """The block, its weights brought before it computes, also when it is recomputed."""
        place = self.places.get(block) if isinstance(block, nn.Module) else None
        if place is None:
            return block

        def brought(*inputs: Any) -> Any:
            self._bring(place)
            return block(*inputs)

        return brought

    def _bring(self, place: int) -> None:
        last = len(self.host) - 1
        ahead = 1 if place == 0 or self.place < place < last else -1
        if place not in self.holds:
            self._fetch(place, 1 - self.slot)
        self.slot, self.place = self.holds.index(place), place
        ready = self.ready[self.slot]
        if ready is not None:
            torch.cuda.current_stream(self.device).wait_event(ready)
        if 0 <= place + ahead <= last and place + ahead not in self.holds:
            self._fetch(place + ahead, 1 - self.slot)

    def _fetch(self, place: int, slot: int) -> None:
        """What was asked of the block before in this slot is on its way: the copy waits for it."""
        old = self.holds[slot]
        if old >= 0:
            self._point(old, self.host[old])
        packed, room = self.host[place], self.slots[slot][: len(self.host[place])]
        if self.copier is None:
            room.copy_(packed)
        else:
            self.copier.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self.copier):
                room.copy_(packed, non_blocking=True)
                self.ready[slot] = self.copier.record_event()
        self._point(place, room)
        self.holds[slot] = place

    def _point(self, place: int, at: Tensor) -> None:
        for one, view in zip(self.tensors[place], _views(at, self.tensors[place]), strict=True):
            one.data = view


def _views(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    views, at = [], 0
    for one in like:
        size = one.numel() * one.element_size()
        views.append(packed[at : at + size].view(one.dtype).view(one.shape))
        at += -(-size // ALIGNED) * ALIGNED
    return views
