"""What a run saves and samples, when, and under which names: exactly the script's."""

from __future__ import annotations

import math
from dataclasses import replace

from lorakit.catalogue.file_names import CheckpointName
from lorakit.plan.model import Checkpoint
from lorakit.recipe.options import Options
from lorakit.trainers.table import trainer

MAX_STEPS = 10_000_000  # beyond that nothing is listed, because nothing is started


def checkpoints(
    options: Options, total: int, epochs: int, per_epoch: int
) -> tuple[Checkpoint, ...]:
    """In the order of writing; `kept`: is it still there at the end?"""
    if not 1 <= total <= MAX_STEPS:
        return ()
    names = trainer(options.resolved.trainer).names(options)
    name, state = names[0], options.flag("save_state")
    made = _by_step(options, names, total, per_epoch)
    made += _by_epoch(options, total, epochs, per_epoch)
    saved: list[Checkpoint] = []
    for found in sorted(made, key=lambda one: one.step):  # a step's file before its epoch's
        saved.append(found)
        if state:
            due = name.at_step(found.step) if found.kind == "step" else name.at_epoch(found.epoch)
            kept = _kept(options, found, total, epochs, state=True)
            saved.append(replace(found, name=str(due.as_state()), kind="state", kept=kept))
    if state or options.flag("save_state_on_train_end"):
        saved.append(Checkpoint(str(name.as_state()), total, epochs, "state"))
    return (*saved, *(Checkpoint(str(one), total, epochs, "final") for one in names))


def every_epochs(options: Options, epochs: int) -> int:
    """save_every_n_epochs, or what save_n_epoch_ratio makes of it; 0: never."""
    ratio = options.integer("save_n_epoch_ratio")
    if ratio > 0:
        return math.floor(epochs / ratio) or 1
    return max(0, options.integer("save_every_n_epochs"))


def sample_steps(options: Options, total: int, epochs: int, per_epoch: int) -> tuple[int, ...]:
    """0 is before the first step. Epochs win over steps, as in the script."""
    if not options.is_set("sample_prompts") or not 1 <= total <= MAX_STEPS:
        return ()
    first = [0] if options.flag("sample_at_first") else []
    by_epoch, by_step = (options.integer(f"sample_every_n_{unit}") for unit in ("epochs", "steps"))
    if by_epoch > 0:
        ends = range(by_epoch, epochs + 1, by_epoch)
        return (*first, *(min(epoch * per_epoch, total) for epoch in ends))
    late = trainer(options.resolved.trainer).names(options)[0].from_zero
    due = range(by_step + late, total + 1, by_step) if by_step > 0 else ()
    return (*first, *due, *([total] if late and total not in due else ()))


def _by_step(
    options: Options, names: tuple[CheckpointName, ...], total: int, per_epoch: int
) -> list[Checkpoint]:
    every = options.integer("save_every_n_steps")
    if every < 1:
        return []
    late = int(names[0].from_zero)  # one that counts from 0 saves a step later
    found = [
        Checkpoint(str(name.at_step(step)), step, math.ceil(step / per_epoch), "step")
        for step in range(every + late, total + 1, every)
        for name in names
    ]
    if "max_step_saves_to_keep" in options.known:  # the two last files of an expert count, too
        kept = len(names) * options.integer("max_step_saves_to_keep")
        first = len(found) + (len(names) if names[0].part else 0) - kept
        return [replace(one, kept=number >= first) for number, one in enumerate(found)]
    return [replace(one, kept=_kept(options, one, total, 0)) for one in found]


def _by_epoch(options: Options, total: int, epochs: int, per_epoch: int) -> list[Checkpoint]:
    """The last epoch has no file of its own: the final one stands for it."""
    every = every_epochs(options, epochs)
    if not every:
        return []
    name = CheckpointName(options.output_name)
    found = [
        Checkpoint(str(name.at_epoch(epoch)), min(epoch * per_epoch, total), epoch, "epoch")
        for epoch in range(every, epochs, every)
    ]
    return [replace(one, kept=_kept(options, one, total, epochs)) for one in found]


def _kept(
    options: Options, saved: Checkpoint, total: int, epochs: int, *, state: bool = False
) -> bool:
    """At the end. A state follows save_last_n_*_state, or the models' own where that is 0."""
    unit = "steps" if saved.kind == "step" else "epochs"
    last = options.maybe_integer(f"save_last_n_{unit}")
    if state:
        last = options.integer(f"save_last_n_{unit}_state") or last
    if last is None:
        return True
    if unit == "epochs":
        return last < 0 or saved.epoch + every_epochs(options, epochs) * last >= epochs
    # At every save s the script drops the multiple of `every` at or below s - last - 1: `last`
    # counts steps, not files. Only the first few saves from step + last + 1 on can drop this one.
    every = options.integer("save_every_n_steps")
    first = -(-(saved.step + last + 1) // every) * every
    saves = range(max(every, first), min(total, first + every) + 1, every)
    return not any((gone := now - last - 1) - gone % every == saved.step for now in saves)
