"""Runs whose lorakit process has exited: go on watching a living one, close a dead one with what
can be known about its death.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.events import Emit, silent
from lorakit.processes import Identity
from lorakit.run.child import Child, Patience, Signals
from lorakit.run.finish import close
from lorakit.run.owner import own_run
from lorakit.run.resume.stage_records import close_over
from lorakit.run.train import ClosedTerminalSafe
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.run.watch.supervise import Supervision
from lorakit.runs.find import last_progress, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome, State, seen_in
from lorakit.runs.record import RunProcess, read_record

CLOSING_S = 10.0  # what somebody else gets to close the same dead run


def adopt(
    run_dir: Path, *, emit: Emit = silent, patience: Patience | None = None, stop: bool = False
) -> Outcome:
    """Take over a run, living or dead, whose lorakit has exited; bring its record to a true end."""
    with own_run(run_dir, "lorakit watch"):
        return _adopt(run_dir, emit=emit, patience=patience, stop=stop)


def _adopt(run_dir: Path, *, emit: Emit, patience: Patience | None, stop: bool) -> Outcome:
    ledger = Ledger(run_dir)
    record, state = ledger.record, live_state(ledger.record)
    if record.stages and stage_of(run_dir) != run_dir:
        return _adopt_stage(run_dir, emit=emit, patience=patience, stop=stop)
    if record.state != "running" or state == "running":
        raise LorakitError(f"{run_dir}: the lorakit process that started it has not exited.")
    if state == "unattended":
        ledger.update(supervisor=RunProcess.of(Identity.of(os.getpid())))
    part = record.part
    began = part.started or record.started
    report = ClosedTerminalSafe(emit)
    with Signals() as signals:
        supervision = Supervision(
            Child(record.process.identity or Identity(0, "", "")),
            ledger,
            BackgroundHasher(),
            patience=patience,
            past_nan=False,
            write_after=last_progress(run_dir).step,
        )
        if stop:
            supervision.stop("request")
        supervision.watch(signals, report, time.monotonic() - _between(began, time.time()))
        before = seen_in(record.output_dir(run_dir)) if record.parts else {}
        try:
            last_word = (run_dir / LOG).stat().st_mtime
        except OSError:
            last_word = time.time()
        duration_s = _between(began, last_word)
        return close(ledger, supervision, before, report, duration_s, lambda: signals.hurried)


def _adopt_stage(run_dir: Path, *, emit: Emit, patience: Patience | None, stop: bool) -> Outcome:
    folder = stage_of(run_dir)
    record = read_record(folder)
    if record.state == "running":
        last = _adopt(folder, emit=emit, patience=patience, stop=stop)
    else:
        ended: State = "done" if record.state == "done" else "dead"
        last = Outcome(ended, folder, recipe=record.recipe)
    return close_over(run_dir, last)


def close_dead_run(run_dir: Path, *, emit: Emit = silent) -> Outcome | None:
    """Close the record of a run that died silently; None when it lives or is closed already."""
    if not _is_open(run_dir):
        return None
    with own_run(run_dir, "lorakit explain", wait_s=CLOSING_S):
        return adopt(run_dir, emit=emit) if _is_open(run_dir) else None


def _is_open(run_dir: Path) -> bool:
    record = read_record(run_dir)
    return record.state == "running" and live_state(record) == "dead"


def _between(started: str, end: float) -> float:
    try:
        return max(0.0, end - datetime.fromisoformat(started).timestamp())
    except ValueError:
        return 0.0
