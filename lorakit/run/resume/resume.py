"""Go on where a run ended, in the same run folder, and say what is exact about it and what is not.

The embedded trainer continues by itself. sd-scripts restarts its counters, so its part of the run
writes into parts/N/output and `gather` moves the files to their continuous names. max_train_steps
stays as planned: the schedule, a function of it, is then restored as it was. Behaviour read in
train_network.py of the pinned commit: the resume code before the loop, and the two save rules in
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lorakit import tomllib
from lorakit.errors import LorakitError
from lorakit.events import Event, Teller, silent
from lorakit.files import write_atomic
from lorakit.run.child import Patience
from lorakit.run.resume.adopt import bury
from lorakit.run.train import Job, execute
from lorakit.run.watch.hashing import Bookkeeper
from lorakit.runs import record as records
from lorakit.runs.find import live_state
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import HIDDEN, Record, read_record
from lorakit.runs.shape import Shape
from lorakit.runs.states import State, fault_of, states_in

EXACT = ("weights", "optimiser", "learning rate at every step", "number of steps", "file names")
AT_MOST = 4  # times as many saves as planned
# accelerate restores the random states of Python, numpy, torch and CUDA (on a CPU it says that it
# could not, after having done so), but
# none of Apple's GPU; the data's order is shuffled only after each worker has drawn its first batch
# (library/train_util.py, collator).
FIRST_BATCH = (
    "the first batch of each data worker may be another one; noise and timesteps go on as they"
    " were, except on Apple GPUs"
)
OTHERS = (
    "the second and every further process draws noise and timesteps anew: sd-scripts saves the"
    " random states of the first alone"
)
Check = Callable[
    [Path, bool], Sequence[str]
]  # raises where the run may not go on, unless anyway; else says what is not as it was
ANEW = "noise, timesteps and the order of images are drawn anew from here on"


@dataclass(frozen=True)
class Continuation:
    """How sd-scripts is made to go on from step S of T: what to change in train.toml, and how its
    numbers differ from the true ones.
    """

    changes: Mapping[str, Any]
    offset: int  # true step minus the step in the script's file names
    bar_offset: int  # true step minus the step on its bar
    # the true step at which lorakit ends the script, which would go on to the end of its epoch
    stop_after: int = 0
    save_phase: int = 0
    inexact: tuple[str, ...] = ()


def unchecked(_run_dir: Path, _anyway: bool, /) -> Sequence[str]:
    return ()


def resume(
    run_dir: Path,
    *,
    check: Check = unchecked,
    anyway: bool = False,
    teller: Teller = silent,
    patience: Patience | None = None,
) -> Outcome:
    """Continue from the newest whole state; `anyway` also where the check finds other inputs."""
    bury(run_dir)
    data = read_record(run_dir)
    state = newest_state(run_dir, data)
    remarks = [f"not as when the run began: {text}" for text in check(run_dir, anyway)]
    number = len(data["parts"]) + 2
    make = _embedded_job if data["trainer"].get("name") == "embedded" else _kohya_job
    job = make(run_dir, data, state, number, remarks)
    if anyway:
        job = replace(
            job, env={**job.env, "LORAKIT_ANYWAY": "1"}
        )  # the embedded trainer knows its dataset too
    record = Record(run_dir, data)
    teller(Event("note", state.step, text=f"going on from step {state.step} ({state.path.name})"))
    teller(Event("note", state.step, text="exact: " + ", ".join(job.part["exact"])))
    for text in job.part["inexact"]:
        teller(Event("note", state.step, text=f"not exact: {text}"))
    if int(data["machine"].get("of") or 1) > 1:
        teller(
            Event(
                "note",
                state.step,
                text=(
                    "the other machines must go on too: lorakit resume there; they wait for one"
                    " another"
                ),
            )
        )
    data["outcome"] = {}
    return execute(job, record, Bookkeeper(), teller=teller, patience=patience)


def newest_state(run_dir: Path, data: Mapping[str, Any]) -> State:
    """The newest whole one, or an error that says why there is none."""
    name, alive = f"{run_dir.parent.name}/{run_dir.name}", live_state(dict(data))
    if alive in {"running", "unattended"}:
        raise LorakitError(f"{name} is still running.", hint=f"lorakit watch {name}")
    if alive == "done":
        raise LorakitError(
            f"{name} is done: {data['steps'].get('total')} of {data['steps'].get('total')} steps."
        )
    if int(data["machine"].get("of") or 1) > 1 and data["trainer"].get("name") != "embedded":
        raise LorakitError(
            f"{name} ran on {data['machine']['of']} machines, and sd-scripts saves its state on the"
            " first one only.",
            hint=(
                f"Copy a saved LoRA to every machine; lorakit train {data['recipe']} --set"
                " model.network_weights=LORA begins with it."
            ),
        )
    shape = Shape.of(data)
    output = run_dir / str(data.get("output") or "output")
    whole = [
        state
        for state in states_in(output, data["output_name"], per_epoch=shape.per_epoch)
        if state.step < shape.total
    ]
    if whole:
        return whole[-1]
    broken = (
        [f"{path.name} {fault_of(path)}" for path in sorted(output.glob("*-state"))]
        if output.is_dir()
        else []
    )
    raise LorakitError(
        f"{name} has no whole state to go on from"
        + (f" ({'; '.join(broken)})." if broken else "."),
        hint=(
            f"lorakit train {data['recipe']} --set save_state=true starts anew and can be resumed."
        ),
    )


def continuation(shape: Shape, step: int) -> Continuation:
    """Three cases: between two epochs; inside one; inside one with accumulation, where the script
    cannot skip.
    """
    epochs_done, inside = divmod(step, shape.per_epoch)
    skips = bool(inside) and shape.accumulation == 1
    offset = step - inside if skips else step
    changes: dict[str, Any] = {
        "initial_step": step,
        "skip_until_initial_step": True if skips else None,
    }
    inexact = [ANEW if inside else FIRST_BATCH]
    if inside and not skips:
        inexact.append(
            f"epoch {epochs_done + 1} begins again with its first image, because with accumulation"
            f" the script cannot skip what was seen; epochs end {inside} steps later than planned"
        )
    elif skips:
        inexact.append(
            f"epoch {epochs_done + 1} skips as many batches as were seen, but some of its images"
            " come twice and some not at all"
        )
    epochs = -(-shape.total // shape.per_epoch)
    reaches = (
        step + (epochs - epochs_done) * shape.per_epoch
        if inside and not skips
        else epochs * shape.per_epoch
    )
    stop_after = shape.total if reaches > shape.total else 0
    saves = _saves(shape, offset, stop_after)
    if saves.every != shape.save_every:
        changes |= {
            "save_every_n_steps": saves.every,
            "save_last_n_steps": None,
            "save_last_n_steps_state": None,
        }
    return Continuation(changes, offset, step, stop_after, saves.phase, (*inexact, *saves.remarks))


class Saves(NamedTuple):
    every: int | None  # the script's save_every_n_steps
    phase: int  # true steps that are kept leave this remainder-base: (step - phase) % planned == 0
    remarks: tuple[str, ...] = ()


def _saves(shape: Shape, offset: int, stop_after: int) -> Saves:
    """The script saves when its own count divides; shifted by `offset` that may fall beside the
    planned steps.

    It may save a few times more often than planned (`gather` keeps the planned files), but not at
    every step.
    """
    every, phase, remarks = shape.save_every, 0, []
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
    if every and math.gcd(every, end) * AT_MOST >= (shape.save_every or 0):
        return Saves(math.gcd(every, end), phase, tuple(remarks))
    if every and end > every:
        remarks = [
            "no more checkpoints by step before the last: the script can save either at theirs or"
            " at the last step"
        ]
    return Saves(end, phase, tuple(remarks))


def _embedded_job(
    run_dir: Path, data: dict[str, Any], state: State, number: int, remarks: list[str]
) -> Job:
    command = [*_plain_command(data["command"]), "--resume", str(state.path)]
    part = _part(data, state, number, command) | {
        "output": str(data.get("output") or "output"),
        "offset": 0,
        "bar_offset": 0,
        "stop_after": 0,
        "exact": list(EXACT) if remarks else ["every byte, on the same kind of device"],
        "inexact": remarks,
    }
    output = run_dir / str(part["output"])
    return Job(
        run_dir,
        tuple(command),
        _env(data),
        _cwd(run_dir, data),
        output,
        first_step=state.step,
        part=part,
    )


def job_of_record(run_dir: Path, data: Mapping[str, Any]) -> Job:
    """The whole of a run that was written down but never begun."""
    root = Path(str(data.get("root") or run_dir))
    output = run_dir / str(data.get("output") or "output")
    return Job(
        run_dir, tuple(data["command"]), _env(data), root if root.is_dir() else run_dir, output
    )


def _kohya_job(
    run_dir: Path, data: dict[str, Any], state: State, number: int, remarks: list[str]
) -> Job:
    how = continuation(Shape.of(data), state.step)
    inexact = [
        *remarks,
        *how.inexact,
        *(
            [OTHERS]
            if int(data["steps"].get("processes") or 1) > 1 and ANEW not in how.inexact
            else []
        ),
    ]
    folder = run_dir / "parts" / str(number)
    if folder.exists():
        raise LorakitError(f"{folder} exists already; nothing was started.")
    original = run_dir / "train.toml"
    changes = {**how.changes, "output_dir": str(folder / "output"), "resume": str(state.path)}
    write_atomic(folder / "train.toml", changed_toml(original, changes))
    command = [
        str(folder / "train.toml") if Path(word) == original else word for word in data["command"]
    ]
    part = _part(data, state, number, command) | {
        "output": f"parts/{number}/output",
        "offset": how.offset,
        "bar_offset": how.bar_offset,
        "stop_after": how.stop_after,
        "save_phase": how.save_phase,
        "exact": list(EXACT),
        "inexact": inexact,
    }
    return Job(
        run_dir,
        tuple(command),
        _env(data),
        _cwd(run_dir, data),
        folder / "output",
        offset=how.offset,
        bar_offset=how.bar_offset,
        first_step=state.step,
        stop_after=how.stop_after,
        part=part,
    )


def changed_toml(path: Path, changes: Mapping[str, Any]) -> str:
    """The script's settings with some replaced; None takes one away."""
    import toml  # the library the script reads it with

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LorakitError(
            f"{path}: {error}; the run cannot be resumed without its settings."
        ) from error
    flat = {key: value for key, value in data.items() if not isinstance(value, dict)}
    for table in data.values():
        flat |= table if isinstance(table, dict) else {}
    text: str = toml.dumps(
        {key: value for key, value in {**flat, **changes}.items() if value is not None}
    )
    return text


def _part(data: Mapping[str, Any], state: State, number: int, command: list[str]) -> dict[str, Any]:
    return {
        "number": number,
        "started": records.now(),
        "from_state": state.path.name,
        "from_step": state.step,
        "command": command,
        "before_s": float(data["outcome"].get("duration_s") or 0),
    }


def _plain_command(command: list[str]) -> list[str]:
    """Without an older --resume."""
    if "--resume" not in command:
        return list(command)
    at = command.index("--resume")
    return [*command[:at], *command[at + 2 :]]


def _env(data: Mapping[str, Any]) -> dict[str, str]:
    """As recorded; secrets were not, so those come from the environment of today."""
    return {key: str(value) for key, value in data["env"].items() if value != HIDDEN}


def _cwd(run_dir: Path, data: Mapping[str, Any]) -> Path:
    cwd = Path(str(data.get("cwd") or run_dir))
    return cwd if cwd.is_dir() else run_dir
