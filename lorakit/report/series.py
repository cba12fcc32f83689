"""The numbers of a run over its steps: loss, learning rates, validation. From what the run wrote;
no drawing here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lorakit.events import Event
from lorakit.report.scalars import read_scalars
from lorakit.runs.find import progress_rows
from lorakit.runs.folder import EVENTS, LOG
from lorakit.runs.record import Record, ResumedPart, read_record
from lorakit.trainers.progress import Reader
from lorakit.trainers.table import TRAINERS

Point = tuple[int, float]
_VALIDATION = "loss/validation/step_average"


@dataclass(frozen=True)
class Series:
    """One line of a chart: points sorted by step, finite numbers only."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Numbers:
    loss: Series
    rates: tuple[Series, ...]
    validation: Series
    lost: int = 0  # steps whose loss was NaN


def read_numbers(run_dir: Path, record: Record) -> Numbers:
    """Of a run, or of its stages one after another."""
    if record.begun_stages:
        folders = [(one.first_step, run_dir / one.folder) for one in record.begun_stages]
        return _joined(
            [(before, read_numbers(folder, read_record(folder))) for before, folder in folders]
        )
    rows, scalars = list(progress_rows(run_dir)), _launches(run_dir, record)
    loss = _clean((row["step"], row.get("loss")) for row in rows)
    lost = len(rows) - len(loss) if loss else 0
    trainer = TRAINERS.get(record.trainer.name)
    if trainer and trainer.PRINTS_MEAN_LOSS:
        loss = _exact(scalars.get("loss/current", ()), loss)
    validation = _clean(scalars.get(_VALIDATION, ()))
    if trainer:
        validation = (
            _validation(run_dir / EVENTS, trainer.event_reader(), b'"validation"') or validation
        )
        if not validation and any(
            one.startswith("validat") for one in record.settings.get("train", ())
        ):
            validation = _validation(run_dir / LOG, trainer.log_reader(), b"steps:")
    return Numbers(
        Series("loss", loss), _rates(rows, scalars), Series("validation", validation), lost
    )


def smoothed(points: Sequence[Point], share: float = 0.05) -> tuple[Point, ...]:
    """A centred mean over a window of about a twentieth of the run: no lag, and no curve from a
    few points.
    """
    reach = max(1, round(len(points) * share / 2))
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for place, (step, _) in enumerate(points):
        low, high = max(0, place - reach), min(len(points), place + reach + 1)
        found.append((step, (sums[high] - sums[low]) / (high - low)))
    return tuple(found)


def thinned(points: Sequence[Point], most: int) -> tuple[Point, ...]:
    """At most about `most` points, the lowest and the highest of each stretch, so that no spike is
    lost.
    """
    if len(points) <= most:
        return tuple(points)
    size = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return tuple(kept)


def _joined(parts: Sequence[tuple[int, Numbers]]) -> Numbers:
    """Steps counted through; learning rates go on under their names."""

    def moved(name: str, found: Iterable[tuple[int, Series]]) -> Series:
        points = [(step + before, value) for before, one in found for step, value in one.points]
        return Series(name, tuple(points))

    rates: dict[str, list[tuple[int, Series]]] = {}
    for before, part in parts:
        for one in part.rates:
            rates.setdefault(one.name, []).append((before, one))
    return Numbers(
        moved("loss", ((before, part.loss) for before, part in parts)),
        tuple(moved(name, found) for name, found in rates.items()),
        moved("validation", ((before, part.validation) for before, part in parts)),
        sum(part.lost for _, part in parts),
    )


def _launches(run_dir: Path, record: Record) -> dict[str, list[Point]]:
    """Tensorboard's scalars with true steps: every launch has a folder of its own, and a resumed
    sd-scripts counts from 0 again in its own. What a later launch repeated replaces what an earlier
    one had logged.
    """
    logs = run_dir / (record.logs or "logs")
    folders = sorted(path for path in logs.iterdir() if path.is_dir()) if logs.is_dir() else []
    found: dict[str, list[Point]] = {}
    for folder in folders:
        offset = _offset(folder, record.parts)
        for tag, points in read_scalars(folder).items():
            made = [(step + offset, value) for step, value in points if step]  # 0: before training
            first = min((step for step, _ in made), default=math.inf)
            found[tag] = [point for point in found.get(tag, ()) if point[0] < first] + made
    return found


def _offset(folder: Path, parts: Sequence[ResumedPart]) -> int:
    """Of the part that this log folder, named by its time, belongs to: the last that had been
    started by then. A part that failed at once left no folder.
    """
    begun = [part for part in parts if _stamp(part.started) <= folder.name[-14:]]
    return begun[-1].offset if begun else 0


def _stamp(started: str) -> str:
    try:
        return datetime.fromisoformat(started).strftime("%Y%m%d%H%M%S")
    except ValueError:
        return ""


def _exact(points: Sequence[Point], printed: tuple[Point, ...]) -> tuple[Point, ...]:
    """Each step's own loss, the mean of its batches: what sd-scripts prints is a mean over an
    epoch, with three digits.
    """
    batches: dict[int, list[float]] = {}
    for step, value in points:
        if math.isfinite(value):
            batches.setdefault(step, []).append(value)
    if len(batches) < len(printed):
        return printed
    return tuple((step, sum(values) / len(values)) for step, values in sorted(batches.items()))


def _rates(
    rows: Sequence[Mapping[str, Any]], scalars: Mapping[str, Sequence[Point]]
) -> tuple[Series, ...]:
    """Of every part that is trained, from tensorboard's log; else the one rate that the trainer's
    events carry.
    """
    named = {
        tag.removeprefix("lr/").strip(): points
        for tag, points in scalars.items()
        if tag.startswith("lr/") and not tag.startswith(("lr/group", "lr/d*lr"))
    }
    if named:
        return tuple(Series(name, _clean(points)) for name, points in sorted(named.items()))
    own = _clean((row["step"], row.get("lr")) for row in rows)
    return (Series("learning rate", own),) if own else ()


def _validation(path: Path, reader: Reader | None, mark: bytes) -> tuple[Point, ...]:
    """What the reader finds in the lines, or the frames of a progress bar, that hold `mark`."""
    found: list[Event] = []
    if reader is not None:
        with contextlib.suppress(OSError), path.open("rb") as file:
            for line in (part for chunk in file for part in chunk.split(b"\r") if mark in part):
                found += reader.feed(line)
            found += reader.finish()
    return _clean((one.step or 0, one.loss) for one in found if one.kind == "validation")


def _clean(points: Iterable[tuple[int, Any]]) -> tuple[Point, ...]:
    """The last value of each step, in order, finite numbers only."""
    kept = {
        step: float(value)
        for step, value in points
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
    return tuple(sorted(kept.items()))
