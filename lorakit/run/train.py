"""Run a plan: folder, record, launch, follow, stop, judge. The walk is `train`; each line of it is
a small function.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakit.errors import SetupError
from lorakit.events import Event, Teller, silent
from lorakit.families import FAMILIES
from lorakit.files import write_atomic
from lorakit.plan.model import Plan
from lorakit.processes import Identity, oom_kills
from lorakit.run.child import SIGKILL, Child, Patience, Signals, launch
from lorakit.run.device import hold_device
from lorakit.run.finish import close, output_of
from lorakit.run.watch.follow import Positions, positions
from lorakit.run.watch.hashing import Bookkeeper
from lorakit.run.watch.supervise import Supervision
from lorakit.runs import record as records
from lorakit.runs.folder import EVENTS, LOG
from lorakit.runs.outcome import Outcome, seen_in
from lorakit.runs.record import Record
from lorakit.trainers.kohya import tokenizers


@dataclass(frozen=True)
class Job:
    """What `execute` needs to know about one launch; a resumed run has a job of its own."""

    run_dir: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    output_dir: Path
    offset: int = (
        0  # true step minus the step in this launch's file names; a resumed sd-scripts counts anew
    )
    bar_offset: int = 0  # true step minus the step on its bar
    first_step: int = 0  # steps that earlier parts of the run have made
    stop_after: int = (
        0  # end the script once the file of this step is saved, because it would overshoot
    )
    part: Mapping[str, Any] = field(default_factory=dict)


def train(
    plan: Plan, *, teller: Teller = silent, patience: Patience | None = None, past_nan: bool = False
) -> Outcome:
    """Run the plan to its end, whatever that is. Raises only when nothing could be started; a bad
    end is an Outcome.
    """
    records.require_folder(plan.run_dir)
    try:
        for name, text in plan.files.items():
            write_atomic(plan.run_dir / name, text)
    except OSError as error:
        raise SetupError(f"{plan.run_dir}: {error.strerror}; nothing was started.") from error
    record = Record(plan.run_dir, records.from_plan(plan))
    books = Bookkeeper()
    books.weights(record.data["weights"])
    books.dataset(plan, plan.run_dir)
    return execute(job_of(plan), record, books, teller=teller, patience=patience, past_nan=past_nan)


def job_of(plan: Plan) -> Job:
    root = plan.resolved.root
    return Job(
        plan.run_dir, plan.argv, plan.env, root if root.is_dir() else plan.run_dir, plan.output_dir
    )


def execute(
    job: Job,
    record: Record,
    books: Bookkeeper,
    *,
    teller: Teller,
    patience: Patience | None = None,
    past_nan: bool = False,
) -> Outcome:
    """Launch one job, follow it, and close the record over it."""
    before = seen_in(output_of(record))
    tell = Careful(teller)
    _provide_tokenizers(record.data)
    record.update(state="running", supervisor=Identity.of(os.getpid()).as_dict(), cwd=str(job.cwd))
    record.keep_room()
    with Signals() as signals, hold_device(job.run_dir, tell) as keep_fds:
        started = time.monotonic()
        at = positions(job.run_dir)
        child = _launch(job, record, keep_fds, at)
        tell(
            Event(
                "started",
                job.first_step,
                int(record.data["steps"].get("total") or 0),
                path=str(job.run_dir),
            )
        )
        supervision = Supervision(
            child,
            record,
            books,
            output_dir=job.output_dir,
            offset=job.offset,
            bar_offset=job.bar_offset,
            stop_after=job.stop_after,
            patience=patience or patience_for(record.data),
            past_nan=past_nan,
            at=at,
            write_after=job.first_step,
        )
        try:
            supervision.watch(signals, tell, started)
        except BaseException:
            child.send(
                int(SIGKILL)
            )  # a mistake of ours must not leave a training that nobody follows
            raise
        return close(
            record, supervision, before, tell, time.monotonic() - started, lambda: signals.hurried
        )


def _provide_tokenizers(record: Mapping[str, Any]) -> None:
    """The scripts' tokenisers, where the run counts on our own copies of them."""
    place = record["settings"].get("train", {}).get("tokenizer_cache_dir") or {}
    if Path(str(place.get("value"))) == tokenizers.folder():
        tokenizers.ensure(FAMILIES[str(record.get("family"))].tokenizers)


def patience_for(record: Mapping[str, Any]) -> Patience:
    """The embedded trainer ends its step and saves after an interrupt; sd-scripts stops at once
    and saves nothing.
    """
    return (
        Patience(120.0, 20.0)
        if record["trainer"].get("name") == "embedded"
        else Patience(20.0, 10.0)
    )


def _launch(job: Job, record: Record, keep_fds: tuple[int, ...], at: Positions) -> Child:
    env = {"LORAKIT_EVENTS": str(job.run_dir / EVENTS), **job.env}
    try:
        child = launch(job.argv, env=env, cwd=job.cwd, log=job.run_dir / LOG, keep_fds=keep_fds)
    except BaseException:
        record.update(
            state="failed",
            ended=records.now(),
            outcome={"reason": f"{job.argv[0]} could not be started"},
        )
        raise
    if job.part:
        record.data["parts"].append(dict(job.part))
    record.update(
        process=child.identity.as_dict()
        | {"pgid": child.identity.pid, "oom_kills": oom_kills(), "log_at": list(at)}
    )
    return child


class Careful:
    """A teller whose screen may vanish (terminal closed, pipe gone) without ending the training."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller

    def __call__(self, event: Event) -> None:
        try:
            self._teller(event)
        except (OSError, ValueError):  # ValueError: a write to a closed file
            self._teller = silent
