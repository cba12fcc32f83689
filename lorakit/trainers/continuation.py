"""How a trainer is made to go on from step S of T, where its own counters begin again: what it is
told, and how its numbers differ from the true ones. Arithmetic only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

AT_MOST = 4  # times as many saves as planned
ANEW = "noise, timesteps and the order of images are drawn anew from here on"


class Paused(NamedTuple):
    """Where a run goes on, in its own true numbers."""

    step: int
    total: int
    per_epoch: int
    accumulation: int = 1


@dataclass(frozen=True)
class Continuation:
    """What to change in train.toml, and how the script's numbers differ from the true ones."""

    changes: Mapping[str, Any]
    offset: int  # true step minus the step in the script's file names
    bar_offset: int  # true step minus the step on its bar
    # the true step at which lorakit ends the script, which would go on to the end of its epoch
    stop_after: int = 0
    save_phase: int = 0
    inexact: tuple[str, ...] = ()
    epoch_offset: int = 0  # true epoch minus the script's
    # Beside the changed train.toml; where there are any, their folder comes first on PYTHONPATH.
    files: Mapping[str, str] = field(default_factory=dict)


class Saves(NamedTuple):
    every: int | None  # the script's save_every_n_steps
    phase: int  # true steps that are kept leave this remainder-base: (step - phase) % planned == 0
    remarks: tuple[str, ...] = ()

    def changes(self, planned: int | None) -> dict[str, Any]:
        """Those of train.toml."""
        if self.every == planned:
            return {}
        dropped = ("save_last_n_steps", "save_last_n_steps_state")
        return {"save_every_n_steps": self.every, **dict.fromkeys(dropped)}


def saves_after(planned: int | None, offset: int, stop_after: int) -> Saves:
    """The script saves when its own count divides; shifted by `offset` that may fall beside the
    planned steps.

    It may save a few times more often than planned (the planned files are kept), but not at every
    step.
    """
    every, phase, remarks = planned, 0, []
    if every and offset % every:
        if math.gcd(every, offset) * AT_MOST >= every:
            every = math.gcd(every, offset)
        else:
            phase = offset
            remarks.append(
                f"checkpoints come every {every} steps counted from step {offset}, not from 0"
            )
    if not stop_after:
        return Saves(every, phase, tuple(remarks))
    end = stop_after - offset
    if every and math.gcd(every, end) * AT_MOST >= (planned or 0):
        return Saves(math.gcd(every, end), phase, tuple(remarks))
    if every and end > every:
        remarks = [
            "no more checkpoints by step before the last: the script can save either at theirs or"
            " at the last step"
        ]
    return Saves(end, phase, tuple(remarks))
