"""What to type next about a run that has not come to its end."""

from __future__ import annotations

from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.run.diagnose import run_name
from lorakit.run.resume.resume import newest_state
from lorakit.runs.find import live_state
from lorakit.runs.record import WAITING, Record, read_record

MAY_GO_ON = frozenset({"dead", "interrupted", "stopped", "failed"})


def next_command(run_dir: Path, record: Record) -> str:
    """One command; "" for a run that goes on by itself, is done, or can only be started anew."""
    state, found = live_state(record), record.outcome.diagnosis
    if state == "unattended":
        return f"lorakit watch {run_name(run_dir)}"
    if state == "failed" and found and found.remedy.startswith("lorakit "):
        return found.remedy
    if state in MAY_GO_ON and _can_go_on(run_dir, record):
        return f"lorakit resume {run_name(run_dir)}"
    return f"lorakit explain {run_name(run_dir)}" if state in {"dead", "failed"} else ""


def _can_go_on(run_dir: Path, record: Record) -> bool:
    """From an intact state; a run with stages also with a stage that has saved nothing yet."""
    for one in record.stages:
        folder = run_dir / one.folder
        stage = read_record(folder)
        if stage.state != "done":
            return is_untouched(folder, live_state(stage)) or _has_state(folder, stage)
    if record.commands and is_untouched(run_dir, live_state(record)):
        return True
    return not record.stages and _has_state(run_dir, record)


def is_untouched(folder: Path, state: str) -> bool:
    """Of a stage: nothing is lost by starting it from its first step. It waits, or it ended before
    it saved anything.
    """
    return state == WAITING or (state in MAY_GO_ON and not any((folder / "output").glob("*")))


def _has_state(run_dir: Path, record: Record) -> bool:
    try:
        newest_state(run_dir, record)
    except LorakitError:
        return False
    return True
