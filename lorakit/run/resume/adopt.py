"""Runs whose lorakit process has exited: a living one is watched on, a dead one closed."""

import os
import time
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.events import Emit, silent
from lorakit.processes import Identity
from lorakit.run.child import Child, Signals
from lorakit.run.finish import close
from lorakit.run.resume.stage_records import record_stages
from lorakit.run.train import ClosedTerminalSafe, own_run
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.run.watch.supervise import Supervision
from lorakit.runs.find import last_progress, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome, seen_in
from lorakit.runs.record import read_record, seconds_between

CLOSING_S = 10.0  # what somebody else gets to close the same dead run


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
