"""The numbers of a run over its steps: loss, learning rates, validation. From what the run wrote;
no drawing here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lorakit.report.scalars import read_scalars
from lorakit.runs.find import PARENT, WAITING, progress_rows
from lorakit.runs.folder import EVENTS, LOG
from lorakit.runs.record import read_record
from lorakit.trainers.base import Reader
from lorakit.trainers.table import TRAINERS

Point = tuple[int, float]
_VALIDATION = "loss/validation/step_average"


@dataclass(frozen=True)
class Series:
    """One line of a chart. Points are sorted by step; what is no number was left out."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Numbers:
    loss: Series
    rates: tuple[Series, ...]
    validation: Series
    lost: int = 0  # steps whose loss was no number


def read_numbers(run_dir: Path, record: Mapping[str, Any]) -> Numbers:
    """Of a run, or of its stages one after another."""
    begun = [
        entry for entry in record.get(PARENT) or () if entry.get("state") not in {None, WAITING}
    ]
    if begun:
        folders = [run_dir / str(entry["folder"]) for entry in begun]
        return _joined(
            [
                (int(entry.get("first_step") or 0), read_numbers(folder, read_record(folder)))
                for entry, folder in zip(begun, folders, strict=True)
            ]
        )
    rows = list(progress_rows(run_dir))
    scalars = _launches(run_dir, record)
    loss = _clean([(row["step"], row.get("loss")) for row in rows])
    lost = len(rows) - len(loss) if loss else 0
    known = TRAINERS.get(str(record["trainer"].get("name")))
    if known and known.PRINTS_MEAN_LOSS:
        loss = _exact(scalars.get("loss/current", ()), loss)
    held_back = (
        _clean(_told(run_dir))
        or _clean(scalars.get(_VALIDATION, ()))
        or (_validation_of_log(run_dir, record, known.log_reader()) if known else ())
    )
    return Numbers(
        Series("loss", loss), _rates(rows, scalars), Series("validation", held_back), lost
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

    def moved(name: str, found: Sequence[tuple[int, Series]]) -> Series:
        return Series(
            name,
            tuple(
                (step + before, value) for before, series in found for step, value in series.points
            ),
        )

    names = dict.fromkeys(series.name for _, part in parts for series in part.rates)
    return Numbers(
        moved("loss", [(before, part.loss) for before, part in parts]),
        tuple(
            moved(
                name,
                [(before, one) for before, part in parts for one in part.rates if one.name == name],
            )
            for name in names
        ),
        moved("validation", [(before, part.validation) for before, part in parts]),
        sum(part.lost for _, part in parts),
    )


def _launches(run_dir: Path, record: Mapping[str, Any]) -> dict[str, list[Point]]:
    """Tensorboard's scalars with true steps: every launch has a folder of its own, and a resumed
    sd-scripts counts anew in its. What a later launch made again stands for what an earlier one
    had made.
    """
    logs = run_dir / str(record.get("logs") or "logs")
    folders = sorted(path for path in logs.iterdir() if path.is_dir()) if logs.is_dir() else []
    found: dict[str, list[Point]] = {}
    for folder in folders:
        offset = _offset(folder, record["parts"])
        for tag, points in read_scalars(folder).items():
            made = [
                (step + offset, value) for step, value in points if step
            ]  # 0: before the first step
            first = min((step for step, _ in made), default=math.inf)
            found[tag] = [point for point in found.get(tag, ()) if point[0] < first] + made
    return found


def _offset(folder: Path, parts: Sequence[Mapping[str, Any]]) -> int:
    """Of the part that this log folder, named by its time, belongs to: the last that had been
    started by then. A part that failed at once left no folder.
    """
    begun = [part for part in parts if _stamp(part) <= folder.name[-14:]]
    return int(begun[-1].get("offset") or 0) if begun else 0


def _stamp(part: Mapping[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(part.get("started"))).strftime("%Y%m%d%H%M%S")
    except ValueError:
        return ""


def _exact(points: Sequence[Point], told: Sequence[Point]) -> tuple[Point, ...]:
    """Each step's own loss, the mean of its batches: what sd-scripts prints is a mean over an
    epoch, with three digits.
    """
    batches: dict[int, list[float]] = {}
    for step, value in points:
        if math.isfinite(value):
            batches.setdefault(step, []).append(value)
    if len(batches) < len(told):
        return tuple(told)
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
    found = [Series(name, _clean(points)) for name, points in sorted(named.items())]
    if found:
        return tuple(found)
    own = _clean([(row["step"], row.get("lr")) for row in rows])
    return (Series("learning rate", own),) if own else ()


def _told(run_dir: Path) -> list[tuple[int, Any]]:
    """Validation as the embedded trainer's events tell it."""
    found: list[tuple[int, Any]] = []
    try:
        with (run_dir / EVENTS).open("rb") as file:
            for line in file:
                if b'"validation"' in line:
                    row = _row(line)
                    if row.get("event") == "validation" and isinstance(row.get("step"), int):
                        found.append((row["step"], row.get("loss")))
    except OSError:
        pass
    return found


def _validation_of_log(
    run_dir: Path, record: Mapping[str, Any], reader: Reader
) -> tuple[Point, ...]:
    """From the full bars that the trainer draws."""
    settings = record["settings"].get("train", {})
    if not any(str(key).startswith("validat") for key in settings):
        return ()
    found = []
    try:
        with (run_dir / LOG).open("rb") as file:
            for chunk in file:
                for line in chunk.split(b"\r"):
                    if b"steps:" in line:
                        found += [
                            (event.step or 0, event.loss)
                            for event in reader.feed(line)
                            if event.kind == "validation"
                        ]
    except OSError:
        return ()
    return _clean(found)


def _clean(points: Sequence[tuple[int, Any]]) -> tuple[Point, ...]:
    """The last word on each step, in order, numbers only."""
    kept = {
        step: float(value)
        for step, value in points
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
    return tuple(sorted(kept.items()))


def _row(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
