"""fp16: the loss is scaled up so that small gradients survive, by torch's GradScaler's rule. The
scale stays on the device; a state holds it as plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

START = 65536.0
GROWS_AFTER = 2000  # steps in a row whose gradients were finite
LEAST = 1.0  # below it the scale is not what makes the gradients overflow


class LossScale:
    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.scale = torch.full((), START, device=device)
        self.finite_steps = torch.zeros((), device=device, dtype=torch.int32)

    def after(self, overflowed: torch.Tensor) -> None:
        """`overflowed`: 1 where a gradient was not finite, else 0."""
        torch._amp_update_scale_(self.scale, self.finite_steps, overflowed, 2.0, 0.5, GROWS_AFTER)

    def facts(self) -> dict[str, Any]:
        return {"scale": float(self.scale), "finite_steps": int(self.finite_steps)}

    def load(self, facts: Mapping[str, Any]) -> None:
        self.scale.fill_(facts["scale"])
        self.finite_steps.fill_(facts["finite_steps"])
