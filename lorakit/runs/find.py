"""Which runs exist, and which one is meant: by name, by date, by path, or the latest. Reads
records; changes nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lorakit import json_text
from lorakit.errors import LorakitError, did_you_mean
from lorakit.files import at_home
from lorakit.processes import members
from lorakit.runs.folder import PROGRESS, runs_dir
from lorakit.runs.rate import seconds_a_step
from lorakit.runs.record import NAME, Record, read_record

LATEST = "latest"
_FOLDER = re.compile(r"^\d{8}-\d{6}(?:-\d+)?$")
_STAGE = re.compile(r"^\d+-")


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

    @property
    def short(self) -> str:
        return f"{self.run_dir.parent.name}/{self.run_dir.name}"


def run_dirs(root: Path | None = None) -> list[Path]:
    """Every run folder, oldest first."""
    found: list[Path] = []
    for name in _folders(runs_dir(root)):
        found += [
            Path(entry.path) for entry in _folders(Path(name.path)) if _FOLDER.match(entry.name)
        ]
    return sorted(found, key=lambda path: (_natural(path.name), path.parent.name))


def run_dirs_of(root: Path | None, name: str) -> list[Path]:
    """The run folders of one recipe, oldest first."""
    found = [Path(one.path) for one in _folders(runs_dir(root) / name) if _FOLDER.match(one.name)]
    return sorted(found, key=lambda path: _natural(path.name))


def find_run(word: str = LATEST, root: Path | None = None) -> Path:
    """The newest run that `word` fits: `latest`, a path, NAME, NAME/DATE, or the beginning of a
    date.
    """
    path = at_home(Path(word))
    for folder in (path, path.parent, runs_dir(root) / word.removeprefix("runs/")):
        if (folder / NAME).is_file() and (folder != path.parent or word.endswith(NAME)):
            return folder.resolve()
    every = run_dirs(root)
    if not every:
        raise LorakitError(
            f"There are no runs under {runs_dir(root)}.",
            hint=(
                "Run this in the project's folder, the parent of runs/; lorakit train RECIPE makes"
                " the first run."
            ),
        )
    if word == LATEST:
        return every[-1]
    stem = Path(word).stem if word.endswith(".toml") else word.strip("/").removeprefix("runs/")
    digits = re.sub(r"\D", "", stem)
    for run_dir in reversed(every):
        if stem in {run_dir.parent.name, run_dir.name, f"{run_dir.parent.name}/{run_dir.name}"}:
            return run_dir
    for run_dir in reversed(every):
        if (
            len(digits) >= 4
            and not re.search(r"[A-Za-z]", stem)
            and re.sub(r"\D", "", run_dir.name).startswith(digits)
        ):
            return run_dir
        if "/" in stem and f"{run_dir.parent.name}/{run_dir.name}".startswith(stem):
            return run_dir
    near = did_you_mean(stem, {path.parent.name for path in every})
    raise LorakitError(
        f"No run is called {word!r}. {near}".rstrip(), hint="lorakit runs lists them."
    )


def find_trained(word: str = LATEST, root: Path | None = None) -> Path:
    """As find_run, but of runs that `latest` or a bare name fits the newest one with a LoRA; the
    newest of all where none has one.
    """
    found = find_run(word, root)
    every = run_dirs(root)
    stem = Path(word).stem if word.endswith(".toml") else word.strip("/").removeprefix("runs/")
    if stem not in {LATEST, found.parent.name} or has_lora(found):
        return found
    same = [one for one in every if word == LATEST or one.parent.name == found.parent.name]
    return next((one for one in reversed(same) if has_lora(one)), found)


def has_lora(run_dir: Path) -> bool:
    try:
        return any(read_record(run_dir).output_dir(run_dir).glob("*.safetensors"))
    except LorakitError:
        return False


def stage_of(run_dir: Path) -> Path:
    """The folder in which a run with stages is at work, or was last; the run's own where it has
    none.
    """
    begun = read_record(run_dir).begun_stages
    return run_dir / begun[-1].folder if begun else run_dir


def whole_of(run_dir: Path) -> Path:
    """The run that a stage belongs to; a run itself otherwise."""
    return run_dir.parent if (run_dir.parent / NAME).is_file() else run_dir


def run_name(run_dir: Path) -> str:
    """NAME/DATE; a stage of a run is NAME/DATE/STAGE."""
    above = f"{run_dir.parent.parent.name}/" if (run_dir.parent / NAME).is_file() else ""
    return f"{above}{run_dir.parent.name}/{run_dir.name}"


# Most of a record, and nothing of it stands in the table of runs.
NOT_SHOWN = ("settings", "dataset", "weights", "states", "samples", "files")


def info(run_dir: Path) -> RunInfo:
    """One run as it is now. A record that makes no sense is shown as broken, with the reason."""
    try:
        return _info(run_dir, read_record(run_dir, without=NOT_SHOWN))
    except LorakitError as error:
        name, age = run_dir.parent.name, _age(run_dir)
        return RunInfo(run_dir, name, "broken", 0, 0, None, None, "", "", age, error.message)


def _info(run_dir: Path, record: Record) -> RunInfo:
    state, total = live_state(record), record.steps.total
    step, loss, eta = record.outcome.step or 0, record.outcome.loss, None
    if state in {"running", "unattended", "dead"}:
        last = last_progress(run_dir)
        step, loss = last.step, last.loss
        eta = last.left_s(total) if state != "dead" else None
    return RunInfo(
        run_dir,
        record.name or run_dir.parent.name,
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
    supervisor, leader = record.supervisor.identity, record.process.identity
    if supervisor is not None and supervisor.alive:
        return "running"
    if leader is not None and (leader.alive or members(leader)):
        return "unattended"
    return "dead"


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
    rows = tail_rows(path, 50)
    if not rows:
        return Progress(before)
    last = rows[-1]
    timed = [(row["seconds"], row["step"]) for row in rows if {"step", "seconds"} <= row.keys()]
    rate = seconds_a_step(timed) or None
    step, epoch = last.get("step"), last.get("epoch")
    return Progress(
        before + (step if isinstance(step, int) else 0),
        epoch if isinstance(epoch, int) else None,
        _number(last.get("loss")),
        rate,
    )


def _progress_files(run_dir: Path) -> list[tuple[Path, int]]:
    """progress.jsonl with the steps made before it: of the run, or of each of its stages that has
    begun.
    """
    own = run_dir / PROGRESS
    if own.is_file():
        return [(own, 0)]
    found: list[tuple[Path, int]] = []
    before = 0
    folders = [Path(entry.path) for entry in _folders(run_dir) if _STAGE.match(entry.name)]
    for folder in sorted(folders, key=lambda path: int(path.name.partition("-")[0])):
        rows = tail_rows(folder / PROGRESS, 1)
        found.append((folder / PROGRESS, before))
        if not rows:
            break
        before += int(rows[-1].get("step") or 0)
    return found or [(own, 0)]


def tail_rows(path: Path, count: int) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 120 * count))
            lines = file.read().splitlines()
    except OSError:
        return []
    return [row for row in map(_row, lines[-count:]) if row is not None]


def progress_rows(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Every step of the run once, with its last loss: a resumed run may have made a step twice."""
    found: dict[int, dict[str, Any]] = {}
    for path, before in _progress_files(run_dir):
        try:
            with path.open("rb") as file:
                for line in file:
                    row = _row(line)
                    if row is not None and isinstance(row.get("step"), int):
                        step = row["step"] + before
                        found[step] = {**row, "step": step}
        except OSError:
            continue
    yield from (found[step] for step in sorted(found))


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        data = json_text.loads(line)
    except ValueError:
        return None  # half a line: it is being written
    return data if isinstance(data, dict) else None


def _folders(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _natural(name: str) -> tuple[str, int]:
    """20260101-120000-10 comes after -2."""
    return name[:15], int(name[16:] or 1)


def _age(run_dir: Path, started: str = "") -> float:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(started).timestamp())
    except ValueError:
        pass
    try:
        return max(0.0, time.time() - run_dir.stat().st_mtime)
    except OSError:
        return 0.0


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
