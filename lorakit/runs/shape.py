"""The arithmetic of a run, as far as going on with it needs it; read from its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The arithmetic of the run, from its record."""

    total: int
    per_epoch: int
    accumulation: int
    save_every: int | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Shape:
        steps, setting = (
            data["steps"],
            data["settings"].get("train", {}).get("save_every_n_steps") or {},
        )
        total, per_epoch, accumulation = (
            int(steps.get(key) or 0) for key in ("total", "per_epoch", "accumulation")
        )
        return cls(total, per_epoch, accumulation or 1, setting.get("value"))
