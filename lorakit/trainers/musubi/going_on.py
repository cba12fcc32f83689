"""How musubi-tuner is made to go on from step S of T. It restores weights, optimiser, schedule and
random states, and counts from 0: told max_train_steps = T - S it makes the right number of steps,
with a schedule that is built for the whole run (whole_schedule.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit.trainers.continuation import Continuation, Paused, saves_after

SCHEDULE = "lorakit_schedule"  # its name in the part's folder
ORDER = "the images come in the order of the run's first epochs again; noise goes on as it was"


def go_on_in_musubi(at: Paused, settings: Mapping[str, Any]) -> Continuation:
    """Between two epochs, or inside one, which then begins again with its first image."""
    step, total, per_epoch, _ = at
    epochs_done, inside = divmod(step, per_epoch)
    by_step, by_epoch = settings.get("save_every_n_steps"), settings.get("save_every_n_epochs")
    saves = saves_after(by_step, step, 0)
    changes: dict[str, Any] = {
        "max_train_steps": total - step,
        "max_train_epochs": None,
        "lr_scheduler_type": f"{SCHEDULE}.whole_run",
        "lr_scheduler_args": [f"total={total}"],
        "sample_at_first": None,
        **saves.changes(by_step),
    }
    if by_epoch and epochs_done % by_epoch:
        changes["save_every_n_epochs"] = math.gcd(by_epoch, epochs_done)
    inexact = [ORDER]
    if inside:
        inexact.append(
            f"epoch {epochs_done + 1} begins again with its first image, so epochs end"
            f" {inside} steps later than planned"
        )
    source = Path(__file__).with_name("whole_schedule.py")
    return Continuation(
        changes,
        offset=step,
        bar_offset=step,
        save_phase=saves.phase,
        inexact=(*inexact, *saves.remarks),
        epoch_offset=epochs_done,
        files={f"{SCHEDULE}.py": source.read_text(encoding="utf-8")},
    )
