"""A recipe with several stages as one run: runs/NAME/DATE-TIME holds a folder per stage, each a
run folder of its own, and a record made from theirs. The next stage starts from the last one's
LoRA; the first stage that does not end well ends the run.

All stages are written down before the first one starts (state `waiting`), so that a run goes on
later as it was planned, whatever has become of the recipe.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.events import Emit, Event, silent
from lorakit.plan.model import Plan
from lorakit.processes import Identity
from lorakit.run.resume.adopt import close_dead_run, record_stages
from lorakit.run.resume.resume import resume
from lorakit.run.train import execute, job_of, own_run, written_down
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.runs.find import run_name, whole_of
from lorakit.runs.ledger import Ledger
from lorakit.runs.opening import opening_record, require_folder
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import WAITING, Record, RunProcess, StageSummary, read_record

_PATIENCE_S = 5.0  # for a dataset list that is still being made when the run ends


def train_stages(plans: Sequence[Plan], *, emit: Emit = silent, past_nan: bool = False) -> Outcome:
    """Run the stages one after another. Raises only when nothing could be started."""
    run_dir = plans[0].run_dir.parent
    require_folder(run_dir)
    with own_run(run_dir, "lorakit train"):
        hashers = [_written_down(plan) for plan in plans]
        ledger = Ledger(run_dir, _opened(plans))
        record_stages(ledger, running=True)

        def begin(number: int, report: Emit) -> Outcome:
            hashers[number].weights()
            job = job_of(plans[number])
            return execute(job, hashers[number], emit=report, past_nan=past_nan)

        reached = _one_by_one(ledger, begin, emit)
        for hasher in hashers[reached:]:
            _settle(hasher)
        return Outcome(run_dir, ledger.record)


def resume_run(run_dir: Path, *, anyway: bool = False, emit: Emit = silent) -> Outcome:
    """A stage goes on as its run does. `anyway`: also where its inputs are not as they were."""
    run_dir = whole_of(run_dir)
    with own_run(run_dir, "lorakit resume"):
        go_on = _resume_stages if read_record(run_dir).stages else resume
        return go_on(run_dir, anyway=anyway, emit=emit)


def _resume_stages(run_dir: Path, *, anyway: bool, emit: Emit) -> Outcome:
    """In the stage where the run ended, then with those that wait."""
    ledger = Ledger(run_dir)
    folders = list(_folders(ledger))

    def go_on(number: int, report: Emit) -> Outcome:
        return resume(folders[number], anyway=anyway, emit=report)

    if not _one_by_one(ledger, go_on, emit):
        record_stages(ledger)
        raise LorakitError(f"{run_name(run_dir)} is done: every stage.")
    return Outcome(run_dir, ledger.record)


def _one_by_one(ledger: Ledger, do: Callable[[int, Emit], Outcome], emit: Emit) -> int:
    """The stages that are not done yet, until one does not end well; how far that came, or 0."""
    reached = 0
    for number, folder in enumerate(_folders(ledger)):
        close_dead_run(folder)
        if read_record(folder).state == "done":
            continue
        report, reached = StageEvents(ledger, number, emit), number + 1
        report.begin()
        outcome = do(number, report)
        record_stages(ledger, running=outcome.ok and reached < len(ledger.record.stages))
        if not outcome.ok:
            break
    return reached


class StageEvents:
    """Counts a stage's steps through all stages, and keeps the run's own record up to date."""

    def __init__(self, ledger: Ledger, number: int, emit: Emit) -> None:
        self._ledger, self._number, self._emit = ledger, number, emit
        self._before_s = 0.0

    @property
    def _stage(self) -> StageSummary:
        return self._ledger.record.stages[self._number]

    def begin(self) -> None:
        earlier = list(_folders(self._ledger))[: self._number]
        self._before_s = sum(read_record(folder).outcome.duration_s for folder in earlier)
        record = self._ledger.record
        if self._number == 0:
            self._emit(Event("started", 0, record.steps.total, path=str(self._ledger.run_dir)))
        of = f"({self._number + 1} of {len(record.stages)})"
        self._emit(Event("note", text=f"stage {self._stage.name} {of}"))

    def __call__(self, event: Event) -> None:
        if event.kind in {"started", "saved", "sample", "warning", "validation"}:
            record_stages(self._ledger, running=True)
        record = self._ledger.record
        total, is_last = record.steps.total, self._number + 1 == len(record.stages)
        over = event.kind == "ended" and event.text == "done" and not is_last
        if event.kind == "started" or over:
            return
        step = None if event.step is None else event.step + self._stage.first_step
        timed = event.rate_s and step is not None
        self._emit(
            replace(
                event,
                step=step,
                total=total if event.total else None,
                eta_s=max(0, total - (step or 0)) * (event.rate_s or 0) if timed else event.eta_s,
                seconds=None if event.seconds is None else event.seconds + self._before_s,
            )
        )


def _written_down(plan: Plan) -> BackgroundHasher:
    """Folder, files and record; the list of its images is made beside the earlier stages."""
    require_folder(plan.run_dir)
    hasher = written_down(plan, state=WAITING, stage=plan.stage)
    hasher.ledger.save()
    hasher.dataset(plan)
    return hasher


def _opened(plans: Sequence[Plan]) -> Record:
    run_dir = plans[0].run_dir.parent
    return replace(
        opening_record(plans[0]),
        run=run_name(run_dir),
        files={},
        process=RunProcess(),
        supervisor=Identity(),
        stages=tuple(StageSummary(plan.stage, folder=plan.run_dir.name) for plan in plans),
    )


def _settle(hasher: BackgroundHasher) -> None:
    """What was found out about a stage that was not reached."""
    end = time.monotonic() + _PATIENCE_S
    hasher.finish(lambda: time.monotonic() > end)
    hasher.enter()
    hasher.ledger.save()


def _folders(ledger: Ledger) -> Iterator[Path]:
    return (ledger.run_dir / one.folder for one in ledger.record.stages)
