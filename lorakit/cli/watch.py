"""Follow a run live from another terminal: bar, loss curve, samples, speed, memory.

examples:
  lorakit watch                     # the latest run
  lorakit watch maya
  lorakit watch maya --json         # the same as JSON lines
  lorakit watch maya --once         # one picture, then back

A run whose own lorakit is gone is taken over: it is watched to its end and its record is closed.
RUN is a name, NAME/DATE, the beginning of a date, a path, or `latest`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

from lorakit.cli.terminal.curve import curve
from lorakit.errors import LorakitError
from lorakit.processes import Identity, gpu_memory, members
from lorakit.run.resume.next_command import next_command
from lorakit.runs.find import LATEST, find_run, last_progress, live_state, progress_rows
from lorakit.runs.record import NAME, read_record
from lorakit.show import duration, size, tell

EVERY_S = 1.0
MARGIN = 8  # columns for the curve's labels
ENOUGH = 10  # losses that make a curve
SHORTEST = 10  # columns of a bar that still says something
OVER = {"done": 0, "interrupted": 130, "stopped": 130, "running": 0, "unattended": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument("--once", action="store_true", help="one picture, then back")
    parser.add_argument("--json", action="store_true", help="one JSON object a second")


def run(args: argparse.Namespace) -> int:
    run_dir = find_run(args.run)
    state = live_state(read_record(run_dir))
    if state == "unattended" and not args.once:
        return _take_over(run_dir, as_json=args.json)
    try:
        return _watch(run_dir, state, as_json=args.json, once=args.once)
    except LorakitError:
        if (run_dir / NAME).is_file():
            raise
        return _gone(run_dir)  # deleted between two looks


def _watch(run_dir: Path, state: str, *, as_json: bool, once: bool) -> int:
    if as_json:
        return _lines(run_dir, once=once)
    if once or not sys.stderr.isatty():
        print("\n".join(picture(run_dir)))
        return OVER.get(state, 4) if once else _plain(run_dir)
    return _live(run_dir)


def view(run_dir: Path) -> dict[str, Any]:
    """One look at the run, as data."""
    data = read_record(run_dir)
    last, total = last_progress(run_dir), int(data["steps"].get("total") or 0)
    step, rate = int(last.get("step") or 0), last.get("rate_s")
    leader = Identity.read(data["process"])
    people = members(leader) if leader is not None else []
    return {
        "run": f"{run_dir.parent.name}/{run_dir.name}",
        "state": live_state(data),
        "step": step,
        "total": total,
        "epoch": last.get("epoch"),
        "epochs": data["steps"].get("epochs"),
        "loss": last.get("loss"),
        "rate_s": rate,
        "eta_s": max(0, total - step) * rate if rate else None,
        "processes": len(people),
        "memory_bytes": sum(member.resident_bytes for member in people),
        "gpu_bytes": gpu_memory({member.pid for member in people}) if people else 0,
        "samples": [
            str(run_dir / str(entry.get("path")))
            for entry in data["samples"][-3:]
            if isinstance(entry, dict)
        ],
        "warnings": [
            str(entry.get("text")) for entry in data["warnings"] if isinstance(entry, dict)
        ],
        "reason": data["outcome"].get("reason") or "",
        "next": next_command(run_dir, data),
    }


def picture(run_dir: Path, width: int = 80) -> list[str]:
    """The same as lines of text; bar and curve fit into `width` columns."""
    seen = view(run_dir)
    step, total = seen["step"], seen["total"]
    parts = [f"{step}/{total}"]
    parts += [f"epoch {seen['epoch']}/{seen['epochs']}"] if seen["epoch"] else []
    parts += [f"loss {seen['loss']:.4g}"] if seen["loss"] is not None else []
    parts += [f"{seen['rate_s']:.2f} s/step"] if seen["rate_s"] else []
    parts += (
        [f"{duration(seen['eta_s'])} left"]
        if seen["eta_s"] and seen["state"] in {"running", "unattended"}
        else []
    )
    lines = [f"{seen['run']}  {seen['state']}" + (f": {seen['reason']}" if seen["reason"] else "")]
    lines += bar(step, total, "  ".join(parts), width)
    losses = [
        (row["step"], row["loss"]) for row in progress_rows(run_dir) if row.get("loss") is not None
    ]
    lines += curve(smoothed(losses), width=width - MARGIN) if len(losses) >= ENOUGH else []
    if seen["processes"]:
        gpu = f", GPU {size(seen['gpu_bytes'])}" if seen["gpu_bytes"] else ""
        lines += [f"{seen['processes']} processes, {size(seen['memory_bytes'])} of memory{gpu}"]
    lines += [f"sample {path}" for path in seen["samples"]] + [
        f"warning: {text}" for text in seen["warnings"]
    ]
    return lines + ([f"next: {seen['next']}"] if seen["next"] else [])


def bar(step: int, total: int, numbers: str, width: int) -> list[str]:
    """Bar and numbers in one line where both fit, else in two."""
    room = width - len(numbers) - 2
    length = min(40, room if room >= SHORTEST else width)
    filled = length * step // total if total else 0
    drawn = f"{'█' * filled}{'·' * (length - filled)}"
    return [f"{drawn}  {numbers}"] if room >= SHORTEST else [drawn, *wrap(numbers, width)]


def smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The mean over the last twentieth of the run: single losses say more about their timestep
    than about the LoRA.
    """
    window: deque[float] = deque(maxlen=max(1, len(points) // 20))
    found = []
    for step, loss in points:
        window.append(loss)
        found.append((step, fmean(window)))
    return found


def _live(run_dir: Path) -> int:
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4) as live:
        while run_dir.is_dir():
            state = live_state(read_record(run_dir))
            live.update(Text("\n".join(picture(run_dir, width=max(40, live.console.width)))))
            if state not in {"running", "unattended"}:
                return OVER.get(state, 4)
            time.sleep(EVERY_S)
    return _gone(run_dir)


def _plain(run_dir: Path) -> int:
    last = -1
    while run_dir.is_dir():
        seen = view(run_dir)
        if seen["step"] != last:
            last = seen["step"]
            loss = "" if seen["loss"] is None else f"  loss {seen['loss']:.4g}"
            print(f"{last}/{seen['total']}{loss}", flush=True)
        if seen["state"] != "running":
            tell(
                f"{seen['state']} {seen['reason']}".strip(),
                *([f"next: {seen['next']}"] if seen["next"] else []),
            )
            return OVER.get(seen["state"], 4)
        time.sleep(EVERY_S)
    return _gone(run_dir)


def _lines(run_dir: Path, *, once: bool) -> int:
    while run_dir.is_dir():
        seen = view(run_dir)
        print(json.dumps(seen, ensure_ascii=False), flush=True)
        if once or seen["state"] != "running":
            return OVER.get(seen["state"], 4)
        time.sleep(EVERY_S)
    return _gone(run_dir)


def _gone(run_dir: Path) -> int:
    tell(f"{run_dir} is gone; somebody deleted the run while it was watched.")
    return 1


def _take_over(run_dir: Path, *, as_json: bool) -> int:
    from lorakit.cli.terminal.ending import tell_outcome
    from lorakit.cli.terminal.screen import screen
    from lorakit.run.resume.adopt import adopt

    tell("Its lorakit is gone, but it trains on; this one takes over. Ctrl-C here ends the run.")
    with screen(as_json=as_json) as teller:
        outcome = adopt(run_dir, teller=teller)
    return tell_outcome(outcome)
