"""make_report: a run's folder in, report.html out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from lorakit import __version__
from lorakit.files import write_atomic
from lorakit.report import sections
from lorakit.report.advice import advise
from lorakit.report.gallery import dataset_of, samples_of
from lorakit.report.page import facts, fill, section
from lorakit.report.series import Numbers, read_numbers
from lorakit.run.diagnose import run_name
from lorakit.runs.find import PARENT, WAITING, info, live_state
from lorakit.runs.record import read_record
from lorakit.show import duration

NAME = "report.html"


def make_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of a finished, running or dead run, and return where it lies."""
    path = out or run_dir / NAME
    for folder, _ in stages_of(run_dir, read_record(run_dir)):
        make_report(folder)
    write_atomic(path, report_text(run_dir))
    return path


def report_text(run_dir: Path) -> str:
    record = read_record(run_dir)
    state, run = live_state(record), run_name(run_dir)
    numbers = read_numbers(run_dir, record)
    own = stages_of(run_dir, record)
    parts = {
        "outcome": ("Outcome", sections.outcome(advise(record, state, run, numbers))),
        **({"stages": ("Stages", sections.stages([entry for _, entry in own]))} if own else {}),
        "curves": ("Curves", sections.curves(numbers, record)),
        "samples": ("Samples", sections.samples(samples_of(run_dir, record))),
        "checkpoints": ("Checkpoints", sections.checkpoints(record, run_dir)),
        "dataset": ("Dataset", sections.dataset(dataset_of(run_dir, record), record)),
        "settings": ("Settings", sections.settings(record)),
        "origins": ("From what", sections.origins(record)),
    }
    reason = str(record["outcome"].get("reason") or "")
    return fill(
        {
            "title": escape(f"{record['name']} · {run_dir.name}"),
            "run": escape(run),
            "name": escape(record["name"] or run_dir.parent.name),
            "state": escape(state),
            "reason": f"<p>{escape(reason[:1].upper() + reason[1:])}.</p>" if reason else "",
            "facts": facts(_facts(run_dir, record, numbers, state)),
            "contents": "".join(
                f'<a href="#{ident}">{escape(title)}</a>' for ident, (title, _) in parts.items()
            ),
            "sections": "".join(
                section(ident, title, body) for ident, (title, body) in parts.items()
            ),
            "footer": escape(_footer(run, state)),
        }
    )


def stages_of(run_dir: Path, record: Mapping[str, Any]) -> list[tuple[Path, Mapping[str, Any]]]:
    """The stages that have begun, of a run with several: each has a page of its own."""
    entries = [
        entry for entry in record.get(PARENT) or () if entry.get("state") not in {None, WAITING}
    ]
    return [(run_dir / str(entry.get("folder")), entry) for entry in entries]


def _facts(
    run_dir: Path, record: Mapping[str, Any], numbers: Numbers, state: str
) -> list[tuple[str, str]]:
    seen, outcome = info(run_dir), record["outcome"]
    rate, lasted = outcome.get("seconds_a_step"), outcome.get("duration_s")
    validation = numbers.validation.points
    base = next(
        (
            Path(str(entry.get("path"))).name
            for entry in record["weights"]
            if entry.get("key") == "base"
        ),
        "",
    )
    return [
        ("steps", f"{seen.step} of {seen.total}"),
        ("loss", "" if seen.loss is None else f"{seen.loss:.4g}"),
        ("validation loss", f"{validation[-1][1]:.4g}" if validation else ""),
        ("time", duration(lasted) if isinstance(lasted, (int, float)) else ""),
        (
            "left",
            (
                duration(seen.eta_s)
                if seen.eta_s is not None and state in {"running", "unattended"}
                else ""
            ),
        ),
        ("a step", f"{rate:.3g} s" if isinstance(rate, (int, float)) else ""),
        ("trigger", str(record.get("trigger") or "")),
        ("family", str(record.get("family") or "")),
        ("base", base),
        ("preset", str(record.get("preset") or "")),
        ("trainer", seen.trainer),
        ("started", _minute(record["started"])),
    ]


def _minute(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).strftime("%d %b %Y, %H:%M")
    except ValueError:
        return stamp


def _footer(run: str, state: str) -> str:
    now = datetime.now().astimezone().strftime("%d %b %Y, %H:%M")
    more = (
        f" The run goes on; lorakit report {run} makes this page anew."
        if state in {"running", "unattended"}
        else ""
    )
    return (
        f"Made by lorakit {__version__} on {now}. Everything is inside this file; it asks no"
        f" network for anything.{more}"
    )
