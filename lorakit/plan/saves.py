"""What a run saves and samples, when, and under which names: exactly the script's."""

from __future__ import annotations

import math
from dataclasses import replace

from lorakit.catalogue.file_names import CheckpointName
from lorakit.plan.model import Checkpoint
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved

LONGEST = 10_000_000  # steps; beyond that nothing is listed, because nothing is started


def checkpoints(
    resolved: Resolved, total: int, epochs: int, per_epoch: int
) -> tuple[Checkpoint, ...]:
    """In the order in which they are written; `kept` says whether the file is still there at the
    end.
    """
    if not 1 <= total <= LONGEST:
        return ()
    name = CheckpointName(read.text(resolved, "output_name", resolved.name))
    state = read.flag(resolved, "save_state")
    made = sorted(
        [
            *_by_step(resolved, name, (total, per_epoch)),
            *_by_epoch(resolved, name, (total, epochs, per_epoch)),
        ],
        key=lambda found: found.step,  # stable: a step's file comes before its epoch's
    )
    saved: list[Checkpoint] = []
    for found in made:
        saved.append(found)
        if state:
            kept = _state_kept(resolved, found, total, epochs)
            due = name.at_step(found.step) if found.kind == "step" else name.at_epoch(found.epoch)
            saved.append(Checkpoint(str(due.as_state()), found.step, found.epoch, "state", kept))
    if state or read.flag(resolved, "save_state_on_train_end"):
        saved.append(Checkpoint(str(name.as_state()), total, epochs, "state"))
    return (*saved, Checkpoint(str(name), total, epochs, "final"))


def every_epochs(resolved: Resolved, epochs: int) -> int | None:
    """save_every_n_epochs, or what save_n_epoch_ratio makes of it."""
    ratio = read.maybe_whole(resolved, "save_n_epoch_ratio")
    if ratio is not None and ratio > 0:
        return math.floor(epochs / ratio) or 1
    every = read.maybe_whole(resolved, "save_every_n_epochs")
    return every if every is not None and every > 0 else None


def sample_steps(resolved: Resolved, total: int, epochs: int, per_epoch: int) -> tuple[int, ...]:
    """Steps after which sample pictures are made; 0 is before the first. Epochs win over steps, as
    in the script.
    """
    if "sample_prompts" not in resolved.train or not 1 <= total <= LONGEST:
        return ()
    first = [0] if read.flag(resolved, "sample_at_first") else []
    by_epoch = read.whole(resolved, "sample_every_n_epochs", 0)
    by_step = read.whole(resolved, "sample_every_n_steps", 0)
    if by_epoch > 0:
        return (
            *first,
            *(min(epoch * per_epoch, total) for epoch in range(by_epoch, epochs + 1, by_epoch)),
        )
    return (*first, *(range(by_step, total + 1, by_step) if by_step > 0 else ()))


def _by_step(resolved: Resolved, name: CheckpointName, counts: tuple[int, int]) -> list[Checkpoint]:
    total, per_epoch = counts
    every = read.maybe_whole(resolved, "save_every_n_steps")
    if every is None or every < 1:
        return []
    found = [
        Checkpoint(str(name.at_step(step)), step, math.ceil(step / per_epoch), "step")
        for step in range(every, total + 1, every)
    ]
    last = read.maybe_whole(resolved, "save_last_n_steps")
    return (
        found
        if last is None
        else [replace(one, kept=not _step_removed(one.step, every, last, total)) for one in found]
    )


def _by_epoch(
    resolved: Resolved, name: CheckpointName, counts: tuple[int, int, int]
) -> list[Checkpoint]:
    """The last epoch has no file of its own: the final one stands for it."""
    total, epochs, per_epoch = counts
    every = every_epochs(resolved, epochs)
    if every is None:
        return []
    found = [
        Checkpoint(str(name.at_epoch(epoch)), min(epoch * per_epoch, total), epoch, "epoch")
        for epoch in range(every, epochs, every)
    ]
    last = read.maybe_whole(resolved, "save_last_n_epochs")
    return (
        found
        if last is None
        else [
            replace(one, kept=not _epoch_removed(one.epoch, every, last, epochs)) for one in found
        ]
    )


def _state_kept(resolved: Resolved, saved: Checkpoint, total: int, epochs: int) -> bool:
    """States follow save_last_n_*_state, or the models' own rule where that is unset or 0."""
    unit = "steps" if saved.kind == "step" else "epochs"
    last = read.maybe_whole(resolved, f"save_last_n_{unit}_state") or read.maybe_whole(
        resolved, f"save_last_n_{unit}"
    )
    if last is None:
        return True
    if saved.kind == "step":
        return not _step_removed(
            saved.step, read.whole(resolved, "save_every_n_steps", 1), last, total
        )
    return not _epoch_removed(saved.epoch, every_epochs(resolved, epochs) or 1, last, epochs)


def _step_removed(step: int, every: int, last: int, total: int) -> bool:
    """At every save s the script drops the multiple of `every` at or below s - last - 1: `last`
    counts steps, not files.
    """
    return any(
        (gone := now - last - 1) - gone % every == step
        for now in _saves_about(step, every, last, total)
    )


def _saves_about(step: int, every: int, last: int, total: int) -> range:
    """The few saves that can drop `step`: those from step + last + 1 on, less than one interval
    further.
    """
    first = -(-(step + last + 1) // every) * every
    return range(max(every, first), min(total, first + every) + 1, every)


def _epoch_removed(epoch: int, every: int, last: int, epochs: int) -> bool:
    return last >= 0 and epoch + every * last < epochs
