"""The numbers of a run over its steps: loss, learning rates, validation. From what the run wrote; no drawing here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.report.scalars import read_scalars
from lorakit.run.find import progress_rows
from lorakit.run.follow import EVENTS, LOG
from lorakit.run.progress import KohyaText

Point = tuple[int, float]
_VALIDATION = ("loss/validation/epoch_average", "loss/validation/step_average")


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
    lost: int = 0                # steps whose loss was no number


def read_numbers(run_dir: Path, record: Mapping[str, Any]) -> Numbers:
    rows = list(progress_rows(run_dir))
    scalars = read_scalars(run_dir / "logs") if (run_dir / "logs").is_dir() else {}
    loss = _clean([(row["step"], row.get("loss")) for row in rows])
    lost = len({row["step"] for row in rows}) - len(loss) if loss else 0
    return Numbers(Series("loss", loss), _rates(rows, scalars, record), Series("validation", _validation(run_dir, record)), lost)


def smoothed(points: Sequence[Point], share: float = 0.05) -> tuple[Point, ...]:
    """A centred mean over a window of about a twentieth of the run: no lag, and no curve from a few points."""
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
    """At most about `most` points, the lowest and the highest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return tuple(points)
    size = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start:start + size]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return tuple(kept)


def _rates(rows: Sequence[Mapping[str, Any]], scalars: Mapping[str, Sequence[Point]], record: Mapping[str, Any]) -> tuple[Series, ...]:
    """Of every part that is trained, from tensorboard's log; else the one rate that the trainer's events carry."""
    every = max(1, int(record["steps"].get("accumulation") or 1))
    named = {
        tag.removeprefix("lr/").strip(): points for tag, points in scalars.items()
        if tag.startswith("lr/") and not tag.startswith(("lr/group", "lr/d*lr"))
    }
    found = [Series(name, _clean([(x // every, y) for x, y in points])) for name, points in sorted(named.items())]
    if found:
        return tuple(found)
    own = _clean([(row["step"], row.get("lr")) for row in rows])
    return (Series("learning rate", own),) if own else ()


def _validation(run_dir: Path, record: Mapping[str, Any]) -> tuple[Point, ...]:
    """From the trainer's events; else from the full bars in the log, which sd-scripts draws."""
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
    return _clean(found) or _validation_of_log(run_dir, record)


def _validation_of_log(run_dir: Path, record: Mapping[str, Any]) -> tuple[Point, ...]:
    settings = record["settings"].get("train", {})
    if not any(str(key).startswith("validat") for key in settings):
        return ()
    text = KohyaText()
    found = []
    try:
        with (run_dir / LOG).open("rb") as file:
            for chunk in file:
                for line in chunk.split(b"\r"):
                    if b"steps:" in line:
                        found += [(event.step or 0, event.loss) for event in text.feed(line) if event.kind == "validation"]
    except OSError:
        return ()
    return _clean(found)


def _clean(points: Sequence[tuple[int, Any]]) -> tuple[Point, ...]:
    """The last word on each step, in order, numbers only."""
    kept = {
        step: float(value) for step, value in points
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
    return tuple(sorted(kept.items()))


def _row(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
