"""How sd-scripts is made to go on from step S of T; arithmetic only.

Behaviour read in train_network.py of the pinned commit: the resume code before the loop, and the
two save rules in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lorakit.runs.ran_from import StepCounts

AT_MOST = 4  # times as many saves as planned
# accelerate restores the random states of Python, numpy, torch and CUDA (on a CPU it says that it
# could not, after having done so), but none of Apple's GPU; the data's order is shuffled only after
# each worker has drawn its first batch (library/train_util.py, collator).
FIRST_BATCH = (
    "the first batch of each data worker may be another one; noise and timesteps go on as they"
    " were, except on Apple GPUs"
)
ANEW = "noise, timesteps and the order of images are drawn anew from here on"


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


class Saves(NamedTuple):
    every: int | None  # the script's save_every_n_steps
    phase: int  # true steps that are kept leave this remainder-base: (step - phase) % planned == 0
    remarks: tuple[str, ...] = ()


def continuation(steps: StepCounts, save_every: int | None, step: int) -> Continuation:
    """Three cases: between two epochs; inside one; inside one with accumulation, where the script
    cannot skip.
    """
    total, per_epoch = steps.total, steps.per_epoch
    epochs_done, inside = divmod(step, per_epoch)
    skips = bool(inside) and (steps.accumulation or 1) == 1
    offset = step - inside if skips else step
    changes: dict[str, Any] = {
        "initial_step": step,
        "skip_until_initial_step": True if skips else None,
    }
    inexact = [ANEW if inside else FIRST_BATCH]
    if skips:
        inexact.append(
            f"epoch {epochs_done + 1} skips as many batches as were seen, but some of its images"
            " come twice and some not at all"
        )
    elif inside:
        inexact.append(
            f"epoch {epochs_done + 1} begins again with its first image, because with accumulation"
            f" the script cannot skip what was seen; epochs end {inside} steps later than planned"
        )
    epochs = -(-total // per_epoch)
    begins_again = inside and not skips
    reaches = step + (epochs - epochs_done) * per_epoch if begins_again else epochs * per_epoch
    stop_after = total if reaches > total else 0
    saves = _saves(save_every, offset, stop_after)
    if saves.every != save_every:
        changes |= {
            "save_every_n_steps": saves.every,
            "save_last_n_steps": None,
            "save_last_n_steps_state": None,
        }
    return Continuation(changes, offset, step, stop_after, saves.phase, (*inexact, *saves.remarks))


def _saves(planned: int | None, offset: int, stop_after: int) -> Saves:
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
