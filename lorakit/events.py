"""What happens during a run, as data: one shape for the screen, `--json`, watch and the record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "started",
    "command",
    "phase",
    "step",
    "saving",
    "saved",
    "removed",
    "state",
    "sample",
    "validation",
    "best",
    "nan",
    "warning",
    "note",
    "end",
    "ended",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened. The kind decides which fields are set; `as_dict` skips the rest."""

    kind: Kind
    step: int | None = None
    total: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    seconds: float | None = None  # since the launch
    rate_s: float | None = None  # seconds per step
    eta_s: float | None = None
    lr: float | None = None
    path: str | None = None
    text: str | None = None  # the phase, the warning, the reason of an end
    rule: str | None = None  # of a warning: nan, plateau, explosion, overfit, slow, disk

    def as_dict(self) -> dict[str, Any]:
        known = {name: value for name, value in vars(self).items() if value is not None}
        return {"event": known.pop("kind"), **known}


Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Reports nothing."""
