"""Runs whose lorakit is gone: go on watching a living one, bury a dead one with what can be known
about its death.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.events import Teller, silent
from lorakit.processes import Identity
from lorakit.run.child import Child, Patience, Signals
from lorakit.run.finish import close, output_of
from lorakit.run.resume.stage_records import close_over
from lorakit.run.train import Careful, patience_for
from lorakit.run.watch.hashing import Bookkeeper
from lorakit.run.watch.supervise import Supervision
from lorakit.runs.find import PARENT, last_progress, live_state, stage_of
from lorakit.runs.outcome import Outcome, seen_in
from lorakit.runs.record import Record, read_record


def adopt(
    run_dir: Path, *, teller: Teller = silent, patience: Patience | None = None, stop: bool = False
) -> Outcome:
    """Take over a run whose lorakit has died, living or dead, and bring its record to a true end."""
    data = read_record(run_dir)
    if data.get(PARENT) and stage_of(run_dir) != run_dir:
        return _adopt_stage(run_dir, teller=teller, patience=patience, stop=stop)
    leader = Identity.read(data["process"])
    if data["state"] != "running" or live_state(data) == "running":
        raise LorakitError(f"{run_dir} has not lost its lorakit.")
    record = Record(run_dir, data)
    if leader is not None and live_state(data) == "unattended":
        record.update(supervisor=Identity.of(os.getpid()).as_dict())
    part, log_at = (
        data["parts"][-1] if data["parts"] else {},
        data["process"].get("log_at") or [0, 0],
    )
    began = str(part.get("started") or data["started"])
    tell = Careful(teller)
    with Signals() as signals:
        supervision = Supervision(
            Child(leader or Identity(0, "", "")),
            record,
            Bookkeeper(),
            output_dir=run_dir / str(part.get("output") or "output"),
            offset=int(part.get("offset") or 0),
            bar_offset=int(part.get("bar_offset") or 0),
            stop_after=int(part.get("stop_after") or 0),
            patience=patience or patience_for(data),
            past_nan=False,
            at=(int(log_at[0]), int(log_at[1])),
            write_after=int(last_progress(run_dir).get("step") or 0),
        )
        if stop:
            supervision.stop("request")
        supervision.watch(signals, tell, time.monotonic() - _since(began))
        before = seen_in(output_of(record)) if part else {}
        return close(
            record, supervision, before, tell, _lasted(run_dir, began), lambda: signals.hurried
        )


def _adopt_stage(
    run_dir: Path, *, teller: Teller, patience: Patience | None, stop: bool
) -> Outcome:
    folder = stage_of(run_dir)
    data = read_record(folder)
    last = (
        adopt(folder, teller=teller, patience=patience, stop=stop)
        if data["state"] == "running"
        else Outcome(
            "done" if data["state"] == "done" else "dead", folder, None, recipe=data["recipe"]
        )
    )
    return close_over(run_dir, last)


def bury(run_dir: Path, *, teller: Teller = silent) -> Outcome | None:
    """Close the record of a run that died without a word; None when the run lives or is closed
    already.
    """
    return adopt(run_dir, teller=teller) if live_state(read_record(run_dir)) == "dead" else None


def _since(started: str) -> float:
    try:
        return max(
            0.0, (datetime.now(timezone.utc) - datetime.fromisoformat(started)).total_seconds()
        )
    except (ValueError, TypeError):
        return 0.0


def _lasted(run_dir: Path, started: str) -> float:
    """Until the log's last word."""
    try:
        return max(
            0.0, (run_dir / "log.txt").stat().st_mtime - datetime.fromisoformat(started).timestamp()
        )
    except (OSError, ValueError):
        return _since(started)
