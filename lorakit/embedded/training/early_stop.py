"""Is the validation loss still getting better? Pure arithmetic; the loop acts on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Watch:
    patience: int | None  # None: never stop, only remember the best
    min_delta: float = 0.0
    best: float = math.inf
    best_step: int = 0
    without_gain: int = 0
    last: float = math.inf
    last_step: int = -1

    def after(self, loss: float, step: int) -> Watch:
        seen = replace(self, last=loss, last_step=step)
        if loss < self.best - self.min_delta:
            return replace(seen, best=loss, best_step=step, without_gain=0)
        return replace(seen, without_gain=self.without_gain + 1)

    @property
    def improved(self) -> bool:
        return self.without_gain == 0 and self.best < math.inf

    @property
    def should_stop(self) -> bool:
        return self.patience is not None and self.without_gain >= self.patience
