"""fp16: the loss is scaled up so that small gradients survive, by torch's GradScaler's rule, in
plain numbers that a state can hold.
"""

from __future__ import annotations

from dataclasses import dataclass

GROWS_AFTER = 2000  # steps in a row whose gradients were finite
LEAST = 1.0  # below it the scale is not what makes the gradients overflow


@dataclass
class LossScale:
    scale: float = 65536.0
    finite_steps: int = 0

    def after(self, *, finite: bool) -> None:
        self.finite_steps = self.finite_steps + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.finite_steps == GROWS_AFTER:
            self.scale, self.finite_steps = self.scale * 2, 0

    @property
    def is_hopeless(self) -> bool:
        return self.scale < LEAST
