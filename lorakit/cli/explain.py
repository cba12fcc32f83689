"""Why a run failed: the cause, the line that says so, a command that helps.

examples:
  lorakit explain
  lorakit explain maya/20261121-080000 --json

RUN is a name, NAME/DATE, the beginning of a date, a path, or `latest`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lorakit.logfile import last_lines, without_launcher
from lorakit.run.resume.adopt import bury
from lorakit.runs.find import LATEST, find_run, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.record import read_record
from lorakit.show import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument(
        "-n", "--lines", type=int, default=10, metavar="N", help="last lines of the log to show"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    run_dir = find_run(args.run)
    bury(run_dir)
    data = read_record(run_dir)
    if args.json:
        print_json(
            {
                "run": data.get("run"),
                "state": live_state(data),
                "warnings": data["warnings"],
                **data["outcome"],
            }
        )
        return 0
    for line in story(run_dir, data, args.lines):
        print(line)
    return 0


def story(run_dir: Path, data: dict[str, Any], count: int) -> list[str]:
    """The whole of it, as lines."""
    outcome, state = data["outcome"], live_state(data)
    found = outcome.get("diagnosis") or {}
    done = (
        "this machine did its part; the LoRA is on the machine of rank 0"
        if data["machine"].get("rank")
        else "the LoRA is whole"
    )
    reason = outcome.get("reason") or {"done": done, "running": "it is still running"}.get(
        state, ""
    )
    lines = [f"{run_dir.parent.name}/{run_dir.name}: {state}" + (f", {reason}" if reason else "")]
    lines += [
        f"Warned at step {w.get('step')}: {w.get('text')}"
        for w in data["warnings"]
        if isinstance(w, dict)
    ]
    if found:
        lines += [
            f"Cause: {found.get('cause')}",
            f"Evidence: {found.get('evidence')}",
            f"Remedy: {found.get('remedy')}",
        ]
    saved = [
        str(entry.get("path"))
        for entry in data["checkpoints"]
        if isinstance(entry, dict) and not entry.get("removed")
    ]
    lines += [f"Saved: {', '.join(saved)}"] if saved and state != "done" else []
    if state not in {"done", "running"}:
        log = stage_of(run_dir) / LOG
        lines += [
            "",
            f"The end of {log}:",
            *(f"  {line}" for line in without_launcher(last_lines(log, count + 20))[-count:]),
        ]
    return lines
