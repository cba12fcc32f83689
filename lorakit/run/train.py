"""Run a plan: folder, record, launch, follow, stop, judge. The walk is `train`."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.errors import SetupError
from lorakit.events import Emit, Event, silent
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.owner import Owner, own
from lorakit.plan.model import Plan
from lorakit.proc import start
from lorakit.processes import MARK, Identity, oom_kills
from lorakit.run.child import Child, Signals
from lorakit.run.commands import leader, work_of
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

# of a log line; sd-scripts would break its messages, and the paths in them, into columns of 80
WIDTH = "240"


def lock_path() -> Path:
    """One lock per set of visible devices, for all of this user's projects."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = "".join(c if c.isalnum() else "-" for c in visible) or "all"
    return cache_dir() / f"device-{name}.lock"


@contextmanager
def hold_device(run_dir: Path, emit: Emit) -> Iterator[tuple[int, ...]]:
    """Gives what the child must inherit. A lock of somebody else is a warning: two may fit."""
    with ExitStack() as stack:
        handles = _lock(stack)
        for handle in handles or ():
            os.ftruncate(handle, 0)
            os.write(handle, f"{run_dir}\n".encode())
        if handles is None:
            busy = (
                f"another run is training on this device ({holder()}); memory and speed are shared"
            )
            emit(Event("warning", text=busy, rule="shared"))
        yield handles or ()


def device_is_free() -> bool:
    with ExitStack() as stack:
        return _lock(stack) is not None


def holder() -> str:
    try:
        return lock_path().read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"


def _lock(stack: ExitStack) -> tuple[int, ...] | None:
    """The descriptor until the stack closes; none where locks fail; None where another has it."""
    from filelock import FileLock, Timeout

    taken: list[int] = []
    try:
        lock_path().parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(lock_path(), blocking=False, on_acquired=taken.append))
    except Timeout:
        return None
    except OSError:
        return ()
    return tuple(taken)


@dataclass(frozen=True)
class Job:
    """What `execute` needs to know about one launch; a resumed run has a job of its own."""

    commands: tuple[Command, ...]  # in order; the last one trains
    env: Mapping[str, str]
    cwd: str  # the run's own folder where that is gone
    part: ResumedPart | None = None


def train(plan: Plan, *, emit: Emit = silent, past_nan: bool = False) -> Outcome:
    """Run it to its end. Raises only when nothing could be started; a bad end is an Outcome."""
    require_folder(plan.run_dir)
    with own_run(plan.run_dir, "lorakit train"):
        hasher = written_down(plan)
        hasher.weights()
        hasher.dataset(plan)
        return execute(job_of(plan), hasher, emit=emit, past_nan=past_nan)


def written_down(plan: Plan, **said: Any) -> BackgroundHasher:
    """Its files, and its record as it begins; `said` is what the record says besides."""
    try:
        for name, text in plan.files.items():
            write_atomic(plan.run_dir / name, text)
    except OSError as error:
        raise SetupError(f"{plan.run_dir}: {error.strerror}; nothing was started.") from error
    return BackgroundHasher(Ledger(plan.run_dir, replace(opening_record(plan), **said)))


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
    return Job(plan.commands, plan.env, str(plan.resolved.root))


def execute(job: Job, hasher: BackgroundHasher, *, emit: Emit, past_nan: bool = False) -> Outcome:
    """Launch one job, follow it, and close the record over it. The run is the caller's own."""
    ledger, run_dir, record = hasher.ledger, hasher.ledger.run_dir, hasher.ledger.record
    part, work, tell = job.part or ResumedPart(), work_of(run_dir, record), ClosedTerminalSafe(emit)
    before = seen_in(work.output_dir)
    output_dir = run_dir / part.output if part.output else work.output_dir
    trainer(record.trainer.name).prepare(replace(work, output_dir=output_dir))
    ledger.update(
        state="running",
        supervisor=Identity.of(os.getpid()),
        cwd=job.cwd if job.cwd and Path(job.cwd).is_dir() else str(run_dir),
        commands=commands_of(job.commands),
    )
    ledger.keep_room()
    with Signals() as signals, hold_device(run_dir, tell) as keep_fds:
        child = _launch(job, ledger, keep_fds)
        first_step = part.from_step or 0
        supervision = Supervision(
            child, hasher, signals, tell, before=before, write_after=first_step, past_nan=past_nan
        )
        tell(Event("started", first_step, record.steps.total, path=str(run_dir)))
        try:
            supervision.watch()
        except BaseException:
            child.send(signal.SIGKILL)  # a bug here must not leave a training that nobody follows
            raise
        return close(supervision, supervision.duration_s)


def _launch(job: Job, ledger: Ledger, keep_fds: tuple[int, ...]) -> Child:
    """Output goes straight into the log: should lorakit die, the training lives and is adopted."""
    run_dir, cwd = ledger.run_dir, Path(ledger.record.cwd)
    argv = leader(run_dir) if len(job.commands) > 1 else job.commands[0].argv
    mark, at = secrets.token_hex(12), positions(run_dir)
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "COLUMNS": WIDTH}
    ours |= {"LORAKIT_EVENTS": str(run_dir / EVENTS)}
    env = {**os.environ, **ours, **job.env, MARK: mark}
    try:
        popen = start(argv, cwd=cwd, env=env, log=run_dir / LOG, keep_fds=keep_fds)
    except BaseException as error:
        ending = Ending(reason=f"{argv[0]} could not be started")
        ledger.update(state="failed", ended=now(), outcome=ending)
        if not isinstance(error, OSError):
            raise
        what = f"{error.filename or argv[0]}: {error.strerror}"
        raise SetupError(f"{what}; nothing was started.") from error
    if job.part:
        ledger.note(parts=(*ledger.record.parts, job.part))
    identity = Identity.of(popen.pid, mark)
    process = RunProcess.like(identity, pgid=popen.pid, oom_kills=oom_kills(), log_at=at)
    ledger.update(process=process)
    return Child(identity, popen)


class ClosedTerminalSafe:
    """Passes events on until the terminal is closed or the pipe is gone; the training goes on."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def __call__(self, event: Event) -> None:
        try:
            self._emit(event)
        except (OSError, ValueError):  # ValueError: a write to a closed file
            self._emit = silent
