"""Go on where a run ended, in the same run folder, and say what is exact about it and what is not.

A trainer that resumes exactly continues by itself. sd-scripts and musubi-tuner restart their
counters, so their part of the run writes into parts/N/output and parts.py moves the files to their
continuous names. How such a trainer is made to go on is its own to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.events import Emit, Event, silent
from lorakit.files import write_atomic
from lorakit.private import HIDDEN
from lorakit.recipe.resolve import resolve
from lorakit.run.child import Patience
from lorakit.run.commands import work_of
from lorakit.run.owner import own_run
from lorakit.run.resume.adopt import close_dead_run
from lorakit.run.train import Job, execute
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.runs.find import live_state
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Ending, Record, ResumedPart, now
from lorakit.runs.states import State, fault_of, states_in
from lorakit.trainers.base import Command
from lorakit.trainers.continuation import ANEW, Continuation, Paused
from lorakit.trainers.table import trainer

EXACT = ("weights", "optimiser", "learning rate at every step", "number of steps", "file names")
OTHERS = (
    "the second and every further process draws noise and timesteps anew: sd-scripts saves the"
    " random states of the first alone"
)
# Raises where the run may not go on, unless anyway; else says what is not as it was.
Check = Callable[[Path, bool], Sequence[str]]


def unchecked(_run_dir: Path, _anyway: bool, /) -> Sequence[str]:
    return ()


def resume(
    run_dir: Path,
    *,
    check: Check = unchecked,
    anyway: bool = False,
    emit: Emit = silent,
    patience: Patience | None = None,
) -> Outcome:
    """Continue from the newest intact state; `anyway` also where the check finds other inputs."""
    with own_run(run_dir, "lorakit resume"):
        return _resume(run_dir, check=check, anyway=anyway, emit=emit, patience=patience)


def _resume(
    run_dir: Path, *, check: Check, anyway: bool, emit: Emit, patience: Patience | None
) -> Outcome:
    close_dead_run(run_dir)
    ledger = Ledger(run_dir)
    record, state = ledger.record, newest_state(run_dir, ledger.record)
    env, unknown = _env(record)
    remarks = tuple(
        f"not as when the run began: {text}" for text in [*check(run_dir, anyway), *unknown]
    )
    steps, settings = record.steps, work_of(run_dir, record).settings
    at = Paused(state.step, steps.total, steps.per_epoch, steps.accumulation or 1)
    if how := trainer(record.trainer.name).continuation(at, settings):
        part = _counted_part(run_dir, record, state, how, remarks)
    else:
        part = _exact_part(record, state, remarks)
    if how and how.files:
        first = str(run_dir / "parts" / str(part.number))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (first, env.get("PYTHONPATH"))))
    notes = [f"going on from step {state.step} ({state.path.name})"]
    notes += ["exact: " + ", ".join(part.exact), *(f"not exact: {text}" for text in part.inexact)]
    if record.machine.of > 1:
        notes.append(
            "the other machines must go on too: lorakit resume there; they wait for one another"
        )
    for text in notes:
        emit(Event("note", state.step, text=text))
    ledger.note(outcome=Ending())
    # LORAKIT_ANYWAY: the embedded trainer knows its dataset too
    env |= {"LORAKIT_ANYWAY": "1"} if anyway else {}
    cwd = Path(record.cwd or run_dir)
    cwd = cwd if cwd.is_dir() else run_dir
    job = Job(run_dir, _commands(record, part.command), env, cwd, part)
    return execute(job, ledger, BackgroundHasher(), emit=emit, patience=patience)


def job_of_record(run_dir: Path, record: Record) -> Job:
    """A run from its first step that was written down but never begun."""
    root = Path(record.root or run_dir)
    cwd = root if root.is_dir() else run_dir
    return Job(run_dir, _commands(record, _command(record)), _env(record)[0], cwd)


def newest_state(run_dir: Path, record: Record) -> State:
    """The newest intact one, or an error that says why there is none."""
    name, alive = f"{run_dir.parent.name}/{run_dir.name}", live_state(record)
    steps, output = record.steps, record.output_dir(run_dir)
    who = trainer(record.trainer.name)
    if alive in {"running", "unattended"}:
        raise LorakitError(f"{name} is still running.", hint=f"lorakit watch {name}")
    if alive == "done":
        raise LorakitError(f"{name} is done: {steps.total} of {steps.total} steps.")
    if record.machine.of > 1 and not who.RESUMES_EXACTLY:
        raise LorakitError(
            f"{name} ran on {record.machine.of} machines, and {who.TITLE} saves its state on the"
            " first one only.",
            hint=f"Copy a saved LoRA to every machine; lorakit train {record.recipe} --set"
            " model.network_weights=LORA begins with it.",
        )
    states = states_in(
        output, record.output_name, per_epoch=steps.per_epoch, counted=who.STATES_COUNT
    )
    if save := who.newest_save(work_of(run_dir, record)):
        states.append(State(save[1], save[0], None))
    intact = [state for state in states if state.step < steps.total]
    if intact:
        return intact[-1]
    faults = {path: fault_of(path, counted=who.STATES_COUNT) for path in output.glob("*-state")}
    broken = [f"{path.name} {fault}" for path, fault in sorted(faults.items()) if fault]
    raise LorakitError(
        f"{name} has no intact state to go on from"
        + (f" ({'; '.join(broken)})." if broken else "."),
        hint=f"lorakit train {record.recipe} --set save_state=true starts anew and can be resumed.",
    )


def _exact_part(record: Record, state: State, remarks: tuple[str, ...]) -> ResumedPart:
    command = _command(record)
    if "--resume" in command:
        at = command.index("--resume")
        command = (*command[:at], *command[at + 2 :])
    return replace(
        _part(record, state),
        command=(*command, "--resume", str(state.path)),
        output=record.output or "output",
        exact=EXACT if remarks else ("every byte, on the same kind of device",),
        inexact=remarks,
    )


def _counted_part(
    run_dir: Path, record: Record, state: State, how: Continuation, remarks: tuple[str, ...]
) -> ResumedPart:
    part = _part(record, state)
    others = record.steps.processes > 1 and ANEW not in how.inexact
    who = trainer(record.trainer.name)
    folder, original = run_dir / "parts" / str(part.number), run_dir / who.CONFIG
    if folder.exists():
        raise LorakitError(f"{folder} exists already; nothing was started.")
    changes = {**how.changes, "output_dir": str(folder / "output"), "resume": str(state.path)}
    write_atomic(folder / who.CONFIG, who.changed(original, changes))
    for name, text in how.files.items():
        write_atomic(folder / name, text)
    changed = str(folder / who.CONFIG)
    return replace(
        part,
        command=tuple(changed if Path(word) == original else word for word in _command(record)),
        output=f"parts/{part.number}/output",
        offset=how.offset,
        bar_offset=how.bar_offset,
        stop_after=how.stop_after,
        save_phase=how.save_phase,
        epoch_offset=how.epoch_offset,
        exact=EXACT,
        inexact=(*remarks, *how.inexact, *([OTHERS] if others else [])),
    )


def _part(record: Record, state: State) -> ResumedPart:
    return ResumedPart(
        number=len(record.parts) + 2,
        started=now(),
        from_state=state.path.name,
        from_step=state.step,
        before_s=record.outcome.duration_s,
    )


def _commands(record: Record, training: tuple[str, ...]) -> tuple[Command, ...]:
    """Those before the training come again; the trainer skips what is still as it was."""
    before = [Command(one.argv, one.name) for one in record.commands[:-1]]
    return (*before, Command(training, *(one.name for one in record.commands[-1:])))


def _command(record: Record) -> tuple[str, ...]:
    """As recorded; a script that a newer lorakit has moved is looked up again."""
    script = record.trainer.script
    if not script or Path(script).exists():
        return record.command
    here = trainer(record.trainer.name).find(record.family)
    if not here.found:
        return record.command
    return tuple(str(here.path) if word == script else word for word in record.command)


def _env(record: Record) -> tuple[dict[str, str], list[str]]:
    """As recorded. The values of [launch] env were not: they come from the recipe of today, else
    from today's environment; and what is in neither.
    """
    env = {key: value for key, value in record.env.items() if value != HIDDEN}
    hidden = [key for key in record.env if key not in env]
    said = _env_said(Path(record.recipe)) if hidden else {}
    env |= {key: str(said[key]) for key in hidden if key in said}
    gone = [key for key in hidden if key not in said and key not in os.environ]
    return env, [f"{key} of [launch] env is not set: export it before resuming" for key in gone]


def _env_said(recipe: Path) -> Mapping[str, Any]:
    try:
        setting = resolve(recipe)[0].launch.get("env")
    except LorakitError:
        return {}
    return setting.value if setting and isinstance(setting.value, Mapping) else {}
