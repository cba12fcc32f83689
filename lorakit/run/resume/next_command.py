"""What a person types next about a run that has not come to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.run.diagnose import run_name
from lorakit.run.resume.resume import newest_state
from lorakit.runs.find import PARENT, WAITING, live_state
from lorakit.runs.record import read_record

MAY_GO_ON = frozenset({"dead", "interrupted", "stopped", "failed"})


def next_command(run_dir: Path, data: Mapping[str, Any]) -> str:
    """One command; empty for a run that goes on by itself, is done, or can only be started anew."""
    state = live_state(dict(data))
    if state == "unattended":
        return f"lorakit watch {run_name(run_dir)}"
    remedy = str((data["outcome"].get("diagnosis") or {}).get("remedy") or "")
    if state == "failed" and remedy.startswith("lorakit "):
        return remedy
    if state in MAY_GO_ON and _can_go_on(run_dir, data):
        return f"lorakit resume {run_name(run_dir)}"
    return f"lorakit explain {run_name(run_dir)}" if state in {"dead", "failed"} else ""


def _can_go_on(run_dir: Path, data: Mapping[str, Any]) -> bool:
    """From a whole state; a run with stages also with a stage that has saved nothing yet."""
    for entry in data.get(PARENT) or ():
        folder = run_dir / str(entry.get("folder"))
        stage = read_record(folder)
        if stage["state"] != "done":
            return is_untouched(folder, live_state(stage)) or _has_state(folder, stage)
    return not data.get(PARENT) and _has_state(run_dir, data)


def is_untouched(folder: Path, state: str) -> bool:
    """Of a stage: nothing is lost by starting it from its first step. It waits, or it ended before
    it saved anything.
    """
    return state == WAITING or (state in MAY_GO_ON and not any((folder / "output").glob("*")))


def _has_state(run_dir: Path, data: Mapping[str, Any]) -> bool:
    try:
        newest_state(run_dir, data)
    except LorakitError:
        return False
    return True
