"""An exponential moving average of the LoRA's weights: what is saved, sampled and validated when
`ema_decay` is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lorakit.embedded.network.lora import Network


class Average:
    """Follows faster at first, min(decay, (1 + n) / (10 + n)), so that a short run is not an
    average of nothing.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self.decay = network, decay
        self.flat = network.copies()
        device = next(iter(self.flat.values())).device
        self.pace = torch.zeros((), device=device)  # how far it moves, on the device

    def set_step(self, done: int) -> None:
        keep = min(self.decay, (1 + done) / (10 + done))
        self.pace.fill_(1 - keep)

    @torch.no_grad()
    def update(self) -> None:
        for group, flat in self.network.flat.items():
            self.flat[group].lerp_(flat, self.pace.to(flat.dtype))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network carries the average."""
        with self.network.given_back():
            self.network.overwrite(self.flat)
            yield
