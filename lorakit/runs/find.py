"""Which runs exist, and which one is meant: by name, date, path, or the latest. Reads only."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from lorakit import json_text
from lorakit.errors import LorakitError, did_you_mean
from lorakit.files import at_home
from lorakit.logfile import last_lines
from lorakit.processes import members
from lorakit.runs.folder import PROGRESS, runs_dir
from lorakit.runs.record import NAME, Record, StageSummary, read_record, seconds_between

LATEST = "latest"
_FOLDER = re.compile(r"^\d{8}-\d{6}(?:-\d+)?$")
PAUSE = 3.0  # times the usual step: then something else was done, such as drawing a sample


@dataclass(frozen=True)
class RunInfo:
    """One row of `lorakit runs`."""

    run_dir: Path
    name: str
    state: str  # running, unattended, done, failed, interrupted, stopped, dead, broken
    step: int
    total: int
    loss: float | None
    eta_s: float | None
    trainer: str
    started: str
    age_s: float
    reason: str = ""


def run_dirs(root: Path | None = None, name: str = "") -> list[Path]:
    """Every run folder, or those of one recipe, oldest first."""
    found = (
        path for path in runs_dir(root).glob(f"{escape(name) or '*'}/*") if _FOLDER.match(path.name)
    )
    return sorted(filter(Path.is_dir, found), key=lambda path: (*_natural(path.name), path))


def find_run(word: str = LATEST, root: Path | None = None) -> Path:
    """The newest that `word` fits: latest, a path, NAME, NAME/DATE, or how a date begins."""
    path = at_home(Path(word))
    path = path.parent if word.endswith(NAME) else path
    for folder in (path, runs_dir(root) / word.removeprefix("runs/")):
        if (folder / NAME).is_file():
            return folder.resolve()
    every = run_dirs(root)[::-1]
    if not every:
        raise LorakitError(
            f"There are no runs under {runs_dir(root)}.",
            hint=(
                "Run this in the project's folder, the parent of runs/; lorakit train RECIPE makes"
                " the first run."
            ),
        )
    stem = _stem(word)
    digits = "" if re.search(r"[A-Za-z]", stem) else re.sub(r"\D", "", stem)
    exactly = (one for one in every if stem in {LATEST, one.parent.name, one.name, run_name(one)})
    by_beginning = (
        one
        for one in every
        if (len(digits) >= 4 and one.name.replace("-", "").startswith(digits))
        or ("/" in stem and run_name(one).startswith(stem))
    )
    if found := next(exactly, None) or next(by_beginning, None):
        return found
    near = did_you_mean(stem, {path.parent.name for path in every})
    what = f"No run is called {word!r}. {near}".rstrip()
    raise LorakitError(what, hint="lorakit runs lists them.")


def find_trained(word: str = LATEST, root: Path | None = None) -> Path:
    """As find_run, but `latest` and a bare name mean the newest run with a LoRA, if any has one."""
    found, stem = find_run(word, root), _stem(word)
    if stem not in {LATEST, found.parent.name}:
        return found
    same = run_dirs(root, "" if stem == LATEST else stem)
    return next((one for one in reversed(same) if has_lora(one)), found)


def _stem(word: str) -> str:
    return Path(word).stem if word.endswith(".toml") else word.strip("/").removeprefix("runs/")


def has_lora(run_dir: Path) -> bool:
    try:
        return any(read_record(run_dir).output_dir(run_dir).glob("*.safetensors"))
    except LorakitError:
        return False


def stage_of(run_dir: Path) -> Path:
    """The stage in which a run is at work, or was last; the run itself where it has none."""
    begun = read_record(run_dir).begun_stages
    return run_dir / begun[-1].folder if begun else run_dir


def whole_of(run_dir: Path) -> Path:
    """The run that a stage belongs to; a run itself otherwise."""
    return run_dir.parent if (run_dir.parent / NAME).is_file() else run_dir


def run_name(run_dir: Path) -> str:
    """NAME/DATE; a stage of a run is NAME/DATE/STAGE."""
    return run_dir.relative_to(whole_of(run_dir).parents[1]).as_posix()


# What of a record stands in the table of runs; reading the rest would take most of the time.
SHOWN = (
    *("state", "name", "started", "trainer", "steps", "outcome"),
    *("supervisor", "process"),  # whether it lives
)


def info(run_dir: Path) -> RunInfo:
    """One run as it is now. A record that makes no sense is shown as broken, with the reason."""
    name = run_dir.parent.name
    try:
        record = read_record(run_dir, only=SHOWN)
    except LorakitError as error:
        age = _age(run_dir, "")
        return RunInfo(run_dir, name, "broken", 0, 0, None, None, "", "", age, error.message)
    state, total = live_state(record), record.steps.total
    step, loss, eta = record.outcome.step or 0, record.outcome.loss, None
    if state in {"running", "unattended", "dead"}:
        last = last_progress(run_dir)
        step, loss = last.step, last.loss
        eta = last.left_s(total) if state != "dead" else None
    return RunInfo(
        run_dir,
        record.name or name,
        state,
        step,
        total,
        loss,
        eta,
        record.trainer.name,
        record.started,
        _age(run_dir, record.started),
        record.outcome.reason,
    )


def live_state(record: Record) -> str:
    """The state in the record, unless it says running and that is no longer so."""
    if record.state != "running":
        return record.state
    if record.supervisor.alive:
        return "running"
    return "unattended" if record.process.alive or members(record.process) else "dead"


class Progress(NamedTuple):
    """The last step that was written down; step 0 before the first."""

    step: int = 0
    epoch: int | None = None
    loss: float | None = None
    rate_s: float | None = None  # seconds a step, over the last ones

    def left_s(self, total: int) -> float | None:
        return max(0, total - self.step) * self.rate_s if self.rate_s else None


def last_progress(run_dir: Path) -> Progress:
    path, before = _progress_files(run_dir)[-1]
    rows = list(_rows(last_lines(path, 50)))
    if not rows:
        return Progress(before)
    last = rows[-1]
    rate = seconds_a_step((row["seconds"], row["step"]) for row in rows if "seconds" in row)
    return Progress(before + last["step"], last.get("epoch"), last.get("loss"), rate or None)


def seconds_a_step(seen: Iterable[tuple[float, int]]) -> float:
    """The mean over (time, step) pairs, pauses between steps left out; 0 where nothing is known."""
    pace = [
        (after - before) / (step - last)
        for (before, last), (after, step) in pairwise(seen)
        if step > last
    ]
    if not pace:
        return 0.0
    usual = median(pace)
    return max(0.0, fmean(one for one in pace if one <= PAUSE * usual or not usual))


def _progress_files(run_dir: Path) -> list[tuple[Path, int]]:
    """progress.jsonl of the run, or of each begun stage, with the steps made before it."""
    begun: tuple[StageSummary, ...] = ()
    with suppress(LorakitError):  # it is not written down yet, or broken
        begun = read_record(run_dir, only=("stages",)).begun_stages
    found = [(run_dir / one.folder / PROGRESS, one.first_step) for one in begun]
    return found or [(run_dir / PROGRESS, 0)]


def progress_rows(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Every step of the run once, with its last loss: a resumed run may have made a step twice."""
    found: dict[int, dict[str, Any]] = {}
    for path, before in _progress_files(run_dir):
        with suppress(OSError), path.open("rb") as file:
            for row in _rows(file):
                step = row["step"] + before
                found[step] = {**row, "step": step}
    yield from (found[step] for step in sorted(found))


def _rows(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):  # half a line: it is being written
            row = json_text.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


def _natural(name: str) -> tuple[str, int]:
    """20260101-120000-10 comes after -2."""
    return name[:15], int(name[16:] or 1)


def _age(run_dir: Path, started: str) -> float:
    age = seconds_between(started, time.time())
    if age is None and run_dir.exists():
        age = max(0.0, time.time() - run_dir.stat().st_mtime)
    return age or 0.0
