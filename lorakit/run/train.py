"""Run a plan: folder, record, launch, follow, stop, judge. The walk is `train`."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit.errors import SetupError
from lorakit.events import Emit, Event, silent
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.owner import Owner, own
from lorakit.plan.model import Plan
from lorakit.processes import Identity, oom_kills
from lorakit.run.child import Child, Signals, launch
from lorakit.run.commands import leader, work_of
from lorakit.run.device import hold_device
from lorakit.run.finish import close
from lorakit.run.watch.follow import positions
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.run.watch.supervise import Supervision
from lorakit.runs.find import whole_of
from lorakit.runs.folder import EVENTS, LOG
from lorakit.runs.ledger import Ledger
from lorakit.runs.opening import commands_of, opening_record, require_folder
from lorakit.runs.outcome import Outcome, seen_in
from lorakit.runs.record import Ending, ResumedPart, RunProcess
from lorakit.trainers.base import Command
from lorakit.trainers.table import trainer


@dataclass(frozen=True)
class Job:
    """What `execute` needs to know about one launch; a resumed run has a job of its own."""

    run_dir: Path
    commands: tuple[Command, ...]  # in order; the last one trains
    env: Mapping[str, str]
    cwd: Path
    part: ResumedPart | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """What is launched: the one command, or what runs several."""
        return leader(self.run_dir) if len(self.commands) > 1 else self.commands[0].argv


def train(plan: Plan, *, emit: Emit = silent, past_nan: bool = False) -> Outcome:
    """Run it to its end. Raises only when nothing could be started; a bad end is an Outcome."""
    require_folder(plan.run_dir)
    with own_run(plan.run_dir, "lorakit train"):
        try:
            for name, text in plan.files.items():
                write_atomic(plan.run_dir / name, text)
        except OSError as error:
            raise SetupError(f"{plan.run_dir}: {error.strerror}; nothing was started.") from error
        ledger, hasher = Ledger(plan.run_dir, opening_record(plan)), BackgroundHasher()
        hasher.weights(ledger.record.weights)
        hasher.dataset(plan, plan.run_dir)
        return execute(job_of(plan), ledger, hasher, emit=emit, past_nan=past_nan)


def own_run(
    run_dir: Path,
    what: str,
    *,
    wait_s: float = 0,
    waiting: Callable[[Owner], None] = lambda _: None,
) -> AbstractContextManager[None]:
    """One process trains into a run, follows it and closes its record: the run as a whole, also
    where a stage is meant. A disk without locks ends no training: the record names the process.
    """
    whole = whole_of(run_dir)
    name = f"{whole.parent.name}/{whole.name}"
    return own(
        whole,
        what,
        named=f"{name} is still running",
        hint=f"lorakit watch {name}",
        wait_s=wait_s,
        waiting=waiting,
        lock_needed=False,
    )


def job_of(plan: Plan) -> Job:
    root = plan.resolved.root
    cwd = root if root.is_dir() else plan.run_dir
    return Job(plan.run_dir, plan.commands, plan.env, cwd)


def execute(
    job: Job, ledger: Ledger, hasher: BackgroundHasher, *, emit: Emit, past_nan: bool = False
) -> Outcome:
    """Launch one job, follow it, and close the record over it. The run is the caller's own."""
    record, part = ledger.record, job.part or ResumedPart()
    before, tell = seen_in(record.output_dir(job.run_dir)), ClosedTerminalSafe(emit)
    work = work_of(job.run_dir, record)
    output_dir = job.run_dir / part.output if part.output else work.output_dir
    trainer(record.trainer.name).prepare(replace(work, output_dir=output_dir))
    ledger.update(
        state="running",
        supervisor=Identity.of(os.getpid()),
        cwd=str(job.cwd),
        commands=commands_of(job.commands),
    )
    ledger.keep_room()
    with Signals() as signals, hold_device(job.run_dir, tell) as keep_fds:
        child = _launch(job, ledger, keep_fds)
        first_step = part.from_step or 0
        supervision = Supervision(
            child,
            ledger,
            hasher,
            signals,
            tell,
            before=before,
            write_after=first_step,
            past_nan=past_nan,
        )
        tell(Event("started", first_step, record.steps.total, path=str(job.run_dir)))
        try:
            supervision.watch()
        except BaseException:
            child.send(signal.SIGKILL)  # a bug here must not leave a training that nobody follows
            raise
        return close(supervision, supervision.duration_s)


def _launch(job: Job, ledger: Ledger, keep_fds: tuple[int, ...]) -> Child:
    at = positions(job.run_dir)
    env = {"LORAKIT_EVENTS": str(job.run_dir / EVENTS), **job.env}
    try:
        child = launch(job.argv, env=env, cwd=job.cwd, log=job.run_dir / LOG, keep_fds=keep_fds)
    except BaseException:
        ending = Ending(reason=f"{job.argv[0]} could not be started")
        ledger.update(state="failed", ended=now(), outcome=ending)
        raise
    if job.part:
        ledger.note(parts=(*ledger.record.parts, job.part))
    process = RunProcess.like(
        child.identity, pgid=child.identity.pid, oom_kills=oom_kills(), log_at=at
    )
    ledger.update(process=process)
    return child


class ClosedTerminalSafe:
    """Passes events on until the terminal is closed or the pipe is gone; the training goes on."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def __call__(self, event: Event) -> None:
        try:
            self._emit(event)
        except (OSError, ValueError):  # ValueError: a write to a closed file
            self._emit = silent
