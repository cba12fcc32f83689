"""Runs whose lorakit process has exited: a living one is watched on, a dead one closed.
And the record of a run with stages, made from theirs: steps counted on, paths from its folder.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lorakit.errors import LorakitError
from lorakit.events import Emit, silent
from lorakit.journal import now
from lorakit.processes import Identity
from lorakit.run.child import Child, Signals
from lorakit.run.finish import close
from lorakit.run.train import ClosedTerminalSafe, own_run
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.run.watch.supervise import Supervision
from lorakit.runs.find import last_progress, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.images import digest_of_stages
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome, seen_in
from lorakit.runs.record import (
    WAITING,
    Ending,
    Record,
    SampleDrawn,
    SavedCheckpoint,
    SavedState,
    StageSummary,
    Warned,
    read_record,
    seconds_between,
)

CLOSING_S = 10.0  # what somebody else gets to close the same dead run
Entry = TypeVar("Entry", SavedCheckpoint, SavedState, SampleDrawn, Warned)


def adopt(run_dir: Path, *, emit: Emit = silent) -> Outcome:
    """Take over a run, living or dead; bring its record, and its stage's, to a true end."""
    with own_run(run_dir, "lorakit watch"):
        folder = stage_of(run_dir)
        if folder == run_dir:
            return _adopt(run_dir, emit)
        if read_record(folder).state == "running":
            _adopt(folder, emit)
        ledger = Ledger(run_dir)
        record_stages(ledger)
        return Outcome(run_dir, ledger.record)


def _adopt(run_dir: Path, emit: Emit) -> Outcome:
    ledger = Ledger(run_dir)
    record, state = ledger.record, live_state(ledger.record)
    if record.state != "running" or state == "running":
        raise LorakitError(f"{run_dir}: the lorakit process that started it has not exited.")
    if state == "unattended":
        ledger.update(supervisor=Identity.of(os.getpid()))
    output, began = record.output_dir(run_dir), record.part.started or record.started
    with Signals() as signals:
        supervision = Supervision(
            Child(record.process),
            BackgroundHasher(ledger),
            signals,
            ClosedTerminalSafe(emit),
            before=seen_in(output, made_before=began) if record.parts else {},
            began_s=seconds_between(began, time.time()) or 0.0,
            write_after=last_progress(run_dir).step,
        )
        supervision.watch()
        log = run_dir / LOG
        last_word = log.stat().st_mtime if log.exists() else time.time()
        return close(supervision, seconds_between(began, last_word) or 0.0)


def close_dead_run(run_dir: Path) -> None:
    """Close the record of a run that died silently; nothing where it lives or is closed already."""
    if _is_open(run_dir):
        with own_run(run_dir, "lorakit explain", wait_s=CLOSING_S):
            if _is_open(run_dir):
                adopt(run_dir)


def _is_open(run_dir: Path) -> bool:
    record = read_record(run_dir)
    return record.state == "running" and live_state(record) == "dead"


def record_stages(ledger: Ledger, *, running: bool = False) -> None:
    """Write the run's record anew from those of its stages."""
    stages: list[tuple[StageSummary, Record]] = []
    first_step = 0
    for old in ledger.record.stages:
        record = read_record(ledger.run_dir / old.folder)
        outcome, total = record.outcome, record.steps.total
        summary = replace(
            old,
            state=record.state,
            step=outcome.step,
            first_step=first_step,
            loss=outcome.loss,
            total=total,
            digest=record.dataset.digest,
        )
        stages.append((summary, record))
        first_step += (outcome.step or 0) if record.state == "done" else total
    begun = [(one, record) for one, record in stages if record.state != WAITING] or stages[:1]
    folder, last = begun[-1][0].folder, begun[-1][1]
    formula = "; ".join(f"{one.name}: {record.steps.formula}" for one, record in stages)
    digest = digest_of_stages([one.digest for one, _ in stages])
    supervisor = last.supervisor if last.supervisor.pid else ledger.record.supervisor
    ledger.note(
        stages=tuple(one for one, _ in stages),
        **{
            key: tuple(
                _moved(entry, one) for one, record in stages for entry in getattr(record, key)
            )
            for key in ("checkpoints", "states", "samples", "warnings")
        },
        settings=last.settings,
        trainer=last.trainer,
        command=last.command,
        env=last.env,
        output=f"{folder}/{last.output or 'output'}",
        steps=replace(last.steps, total=first_step, formula=formula),
        dataset=replace(last.dataset, files=f"{folder}/dataset.json", digest=digest),
        weights=stages[0][1].weights,
        process=last.process,
        supervisor=Identity.of(os.getpid()) if running else supervisor,
    )
    if running:
        ledger.update(state="running", outcome=Ending())
    else:
        _conclude(ledger, stages)


def _conclude(ledger: Ledger, stages: Sequence[tuple[StageSummary, Record]]) -> None:
    """Done when every stage is, else what the first unfinished one says, with its name."""
    unfinished = (n for n, (_, record) in enumerate(stages) if record.state != "done")
    place = next(unfinished, len(stages) - 1)
    summary, record = stages[place]
    ending, waits = record.outcome, record.state == WAITING
    state = "interrupted" if waits else record.state
    what = " has not begun" if waits else f": {ending.reason}"
    last = stages[place - 1][1].outcome if ending.blank and place else ending
    done = state == "done"
    outcome = replace(
        last,
        step=summary.first_step + (ending.step or 0),
        total=ledger.record.steps.total,
        duration_s=sum(one.outcome.duration_s for _, one in stages),
        reason="" if done else f"stage {summary.name} ({place + 1} of {len(stages)}){what}",
        lora=f"{summary.folder}/{ending.lora}" if done and ending.lora else None,
        saved=tuple(
            f"{one.folder}/{path}" for one, record in stages for path in record.outcome.saved
        ),
    )
    ledger.update(state=state, ended=now(), outcome=outcome)


def _moved(one: Entry, stage: StageSummary) -> Entry:
    """A stage's entry as the run's: its path from the run's folder, its step from the start."""
    step = None if one.step is None else one.step + stage.first_step
    if isinstance(one, Warned):
        return replace(one, stage=stage.name, step=step)
    return replace(one, stage=stage.name, step=step, path=f"{stage.folder}/{one.path}")
