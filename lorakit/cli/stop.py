"""End a run in good order, from any terminal.

examples:
  lorakit stop                      # the latest run
  lorakit stop maya                 # embedded: saves and ends; kohya: ends after the next saved checkpoint
  lorakit stop maya --now           # at once; what is lost is said

RUN is a name, NAME/DATE, the beginning of a date, a path, or `latest`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.files import write_atomic
from lorakit.run.diagnose import run_name
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import LATEST, find_run, last_progress, live_state, stage_of
from lorakit.runs.record import read_record
from lorakit.show import duration, tell

POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument("--now", action="store_true", help="do not wait for a checkpoint")


def run(args: argparse.Namespace) -> int:
    whole = find_run(args.run)
    run_dir = stage_of(whole)
    data = read_record(run_dir)
    state = live_state(data)
    if state not in {"running", "unattended"}:
        tell(f"{_short(run_dir)} is not running: {state}.")
        return 0
    waits = data["trainer"].get("name") != "embedded" and not args.now
    tell(*prospect(run_dir, data, now=args.now))
    write_atomic(run_dir / STOP_REQUEST, json.dumps({"mode": "now" if args.now else "save"}))
    if state == "unattended":
        return _take_over(whole)
    try:
        return _wait(run_dir)
    except KeyboardInterrupt:
        tell("The request stands; the run will end by itself." if waits else "The run is ending.")
        return 130


def prospect(run_dir: Path, data: dict[str, Any], *, now: bool) -> list[str]:
    """What will happen and what is lost, as far as it can be known."""
    step, last = int(last_progress(run_dir).get("step") or 0), last_saved(data)
    at = f"{_short(run_dir)} is at step {step} of {data['steps'].get('total')}."
    if data["trainer"].get("name") == "embedded":
        return [
            (
                f"{at} The trainer ends at once and saves nothing; {_lost(step, last)}."
                if now
                else f"{at} The trainer saves and ends."
            )
        ]
    if now:
        return [f"{at} sd-scripts saves nothing when it is stopped; {_lost(step, last)}."]
    coming = [c for c in data["steps"].get("checkpoints") or [] if int(c.get("step") or 0) > step]
    if not coming:
        return [
            f"{at} No further checkpoint is planned before the end; --now ends it at once, and then"
            f" {_lost(step, last)}."
        ]
    rate = last_progress(run_dir).get("rate_s") or 0
    wait = f", in about {duration((coming[0]['step'] - step) * rate)}" if rate else ""
    return [
        f"{at} It ends after the next checkpoint, {coming[0]['name']} at step"
        f" {coming[0]['step']}{wait}."
    ]


def last_saved(data: dict[str, Any]) -> int:
    return max(
        (
            int(c.get("step") or 0)
            for c in data["checkpoints"]
            if isinstance(c, dict) and not c.get("removed")
        ),
        default=0,
    )


def _lost(step: int, last: int) -> str:
    lost = max(0, step - last)
    count = "1 step is" if lost == 1 else f"{lost} steps are"
    return (
        f"{count} lost, since step {last}" if last else f"{count} lost: nothing has been saved yet"
    )


def _take_over(run_dir: Path) -> int:
    from lorakit.run.resume.adopt import adopt

    return _told(adopt(run_dir).run_dir)


def _wait(run_dir: Path) -> int:
    while live_state(read_record(run_dir)) == "running":
        time.sleep(POLL_S)
        if not run_dir.is_dir():
            raise LorakitError(f"{run_dir} is gone.")
    return _told(run_dir)


def _told(run_dir: Path) -> int:
    data = read_record(run_dir)
    tell(f"{_short(run_dir)}: {data['outcome'].get('reason') or data['state']}.")
    states = (str(state.get("path")) for state in data["states"] if not state.get("fault"))
    saved = [
        *(data["outcome"].get("saved") or []),
        *(path for path in states if (run_dir / path).is_dir()),
    ]
    tell("Saved: " + ", ".join(saved) if saved else "Nothing had been saved.")
    return 0


def _short(run_dir: Path) -> str:
    return run_name(run_dir)
