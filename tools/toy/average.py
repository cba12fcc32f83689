"""The weights that are kept of a training: smoother than the last ones."""

from __future__ import annotations

import copy

import torch


class Average:
    """Exponential moving average of weights, with the usual slow start."""

    def __init__(self, models: list[torch.nn.Module], decay: float) -> None:
        self.models, self.decay, self.step = models, decay, 0
        self.kept = [copy.deepcopy(model).requires_grad_(requires_grad=False) for model in models]

    @torch.no_grad()
    def update(self) -> None:
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for model, kept in zip(self.models, self.kept, strict=True):
            torch._foreach_lerp_(list(kept.parameters()), list(model.parameters()), 1 - decay)
