"""Go on where a run ended, in the same run folder, and say what is exact about it and what is not.

A trainer that resumes exactly continues by itself. sd-scripts and musubi-tuner restart their
counters, so their part of the run writes into parts/N/output and parts.py moves the files to their
continuous names. How such a trainer is made to go on is its own to say.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.events import Emit, Event
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.private import HIDDEN
from lorakit.proof.verify import require_same_inputs
from lorakit.recipe.resolve import resolve
from lorakit.run.commands import work_of
from lorakit.run.resume.adopt import close_dead_run
from lorakit.run.resume.next_command import is_untouched, newest_state
from lorakit.run.train import Job, execute
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.runs.images import LIST, digest_of, read_images
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Ending, Record, ResumedPart, Warned, read_record
from lorakit.runs.states import State
from lorakit.trainers.base import ANEW, Command, Continuation, Paused
from lorakit.trainers.table import trainer

EXACT = ("weights", "optimiser", "learning rate at every step", "number of steps", "file names")
OTHERS = (
    "the second and every further process draws noise and timesteps anew: sd-scripts saves the"
    " random states of the first alone"
)


def resume(run_dir: Path, *, anyway: bool, emit: Emit) -> Outcome:
    """From its newest state, or anew where nothing is lost. `anyway`: also with other inputs."""
    close_dead_run(run_dir)
    record = read_record(run_dir)
    if record.root and not run_dir.resolve().is_relative_to(Path(record.root).resolve()):
        what = f"It began in {record.root}, and the trainer's files name that folder."
        raise LorakitError(f"{what} Nothing was started.", hint="Move it back there to go on.")
    go_on = _from_record if is_untouched(run_dir, record) else _from_state
    return go_on(run_dir, record, anyway=anyway, emit=emit)


def _from_record(run_dir: Path, record: Record, *, anyway: bool, emit: Emit) -> Outcome:
    """As it was planned, whatever has become of the recipe."""
    hasher = BackgroundHasher(Ledger(run_dir, record))
    texts = [f"not as it was planned: {text}" for text in require_same_inputs(run_dir, anyway)]
    for text in texts:
        emit(Event("note", text=text))
    dataset = record.dataset
    if not dataset.digest and (rows := read_images(run_dir)):
        # its list was made too late to be entered
        dataset = replace(dataset, digest=digest_of(rows), files=LIST)
    hasher.ledger.note(
        warnings=(*record.warnings, *(Warned(0, "inputs", text) for text in texts)),
        dataset=dataset,
        outcome=Ending(),
    )
    hasher.weights()
    return execute(job_of_record(record), hasher, emit=emit)


def _from_state(run_dir: Path, record: Record, *, anyway: bool, emit: Emit) -> Outcome:
    ledger, state = Ledger(run_dir, record), newest_state(run_dir, record)
    env, unknown = _env(record)
    remarks = tuple(
        f"not as when the run began: {text}"
        for text in [*require_same_inputs(run_dir, anyway), *unknown]
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
    job = Job(_commands(record, part.command), env, record.cwd, part)
    return execute(job, BackgroundHasher(ledger), emit=emit)


def job_of_record(record: Record) -> Job:
    """A run from its first step that was written down but never begun."""
    return Job(_commands(record, _command(record)), _env(record)[0], record.root)


def _exact_part(record: Record, state: State, remarks: tuple[str, ...]) -> ResumedPart:
    command = _command(record)
    if "--resume" in command:
        at = command.index("--resume")
        command = (*command[:at], *command[at + 2 :])
    return ResumedPart(
        **_begun(record, state),
        command=(*command, "--resume", str(state.path)),
        output=record.output or "output",
        exact=EXACT if remarks else ("every byte, on the same kind of device",),
        inexact=remarks,
    )


def _counted_part(
    run_dir: Path, record: Record, state: State, how: Continuation, remarks: tuple[str, ...]
) -> ResumedPart:
    begun, who = _begun(record, state), trainer(record.trainer.name)
    others = record.steps.processes > 1 and ANEW not in how.inexact
    place = f"parts/{begun['number']}"
    folder, original = run_dir / place, run_dir / who.CONFIG
    if folder.exists():
        raise LorakitError(f"{folder} exists already; nothing was started.")
    changes = {**how.changes, "output_dir": str(folder / "output"), "resume": str(state.path)}
    write_atomic(folder / who.CONFIG, who.changed(original, changes))
    for name, text in how.files.items():
        write_atomic(folder / name, text)
    changed = str(folder / who.CONFIG)
    return ResumedPart.like(
        how,
        **begun,
        command=tuple(changed if Path(word) == original else word for word in _command(record)),
        output=f"{place}/output",
        exact=EXACT,
        inexact=(*remarks, *how.inexact, *([OTHERS] if others else [])),
    )


def _begun(record: Record, state: State) -> dict[str, Any]:
    """What is the same however the trainer goes on."""
    return {
        "number": len(record.parts) + 2,
        "started": now(),
        "from_state": state.path.name,
        "from_step": state.step,
        "before_s": record.outcome.duration_s,
    }


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
