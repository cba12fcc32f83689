"""The numbers of a run over its steps, from what the run wrote, tensorboard's event files included
(without tensorboard: what `add_scalar` writes); no drawing here.
"""

import contextlib
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakit.events import Event
from lorakit.runs.find import progress_rows
from lorakit.runs.folder import EVENTS, LOG
from lorakit.runs.record import Record, ResumedPart, moment, read_record
from lorakit.trainers.progress import Reader
from lorakit.trainers.table import TRAINERS, trainer

Point = tuple[int, float]
Points = Sequence[Point]  # sorted by step, finite numbers only
_VALIDATION = "loss/validation/step_average"
LARGEST = 64 << 20  # bytes of one file that are read; a longer one is a video log, not ours
Scalar = tuple[str, int, float]  # tag, x, value


@dataclass(frozen=True)
class Numbers:
    loss: Points = ()
    rates: Mapping[str, Points] = field(default_factory=dict)  # by name
    validation: Points = ()
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
    name = record.trainer.name
    known = trainer(name) if name in TRAINERS else None
    if known and known.PRINTS_MEAN_LOSS:
        loss = _exact(scalars.get("loss/current", ()), loss)
    validation = _clean(scalars.get(_VALIDATION, ()))
    if known:
        validation = (
            _validation(run_dir / EVENTS, known.event_reader(), b'"validation"') or validation
        )
        if not validation and any(
            one.startswith("validat") for one in record.settings.get("train", ())
        ):
            validation = _validation(run_dir / LOG, known.log_reader(), b"steps:")
    return Numbers(loss, _rates(rows, scalars), validation, lost)


def smoothed(points: Points) -> tuple[Point, ...]:
    """A centred mean over a twentieth of the run: no lag, and no curve from a few points."""
    reach = max(1, round(len(points) / 40))
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for place, (step, _) in enumerate(points):
        low, high = max(0, place - reach), min(len(points), place + reach + 1)
        found.append((step, (sums[high] - sums[low]) / (high - low)))
    return tuple(found)


def thinned(points: Points, most: int) -> tuple[Point, ...]:
    """The lowest and the highest point of each stretch, so that no spike is lost."""
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
    loss: list[Point] = []
    rates: dict[str, list[Point]] = {}
    validation: list[Point] = []
    for before, part in parts:
        loss += _later(part.loss, before)
        validation += _later(part.validation, before)
        for name, points in part.rates.items():
            rates.setdefault(name, []).extend(_later(points, before))
    return Numbers(loss, rates, validation, sum(part.lost for _, part in parts))


def _later(points: Points, by: int) -> Points:
    return [(step + by, value) for step, value in points]


def _launches(run_dir: Path, record: Record) -> dict[str, list[Point]]:
    """Tensorboard's scalars with true steps: a resumed sd-scripts counts from 0 in a folder of its
    own. What a later launch repeated replaces what an earlier one had logged.
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
    """Of the last part that had been started by then; one that failed at once left no folder."""
    stamps = [moment(part.started, "%Y%m%d%H%M%S") for part in parts]
    begun = [part for part, at in zip(parts, stamps, strict=True) if at <= folder.name[-14:]]
    return begun[-1].offset if begun else 0


def _exact(points: Points, printed: tuple[Point, ...]) -> tuple[Point, ...]:
    """The mean of each step's batches: sd-scripts prints that of an epoch, with three digits."""
    batches: dict[int, list[float]] = {}
    for step, value in points:
        if math.isfinite(value):
            batches.setdefault(step, []).append(value)
    if len(batches) < len(printed):
        return printed
    return tuple((step, sum(values) / len(values)) for step, values in sorted(batches.items()))


def _rates(
    rows: Sequence[Mapping[str, Any]], scalars: Mapping[str, Points]
) -> Mapping[str, Points]:
    """Of every trained part, from tensorboard's log; else the one that the events carry."""
    named = {
        tag.removeprefix("lr/").strip(): _clean(points)
        for tag, points in sorted(scalars.items())
        if tag.startswith("lr/") and not tag.startswith(("lr/group", "lr/d*lr"))
    }
    own = _clean((row["step"], row.get("lr")) for row in rows)
    return named or ({"learning rate": own} if own else {})


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


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> points in file order; half a message at a file's end is still being written."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST)
            for tag, x, value in _scalars(data):
                found.setdefault(tag, []).append((x, value))
        except (OSError, ValueError, struct.error, IndexError):
            continue
    return found


def _scalars(data: bytes) -> Iterator[Scalar]:
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + length]
        if len(body) < length:
            return
        at += 16 + length
        yield from _event(body)


def _event(body: bytes) -> Iterator[Scalar]:
    """Event: 2 = step, 5 = Summary. Summary: 1 = Value. Value: 1 = tag, 2 = simple_value."""
    step, summaries = 0, []
    for kind, value in _fields(body):
        if kind == 2 and isinstance(value, int):
            step = value
        elif kind == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for kind, entry in _fields(summary):
            if kind == 1 and isinstance(entry, bytes):
                parts = dict(_fields(entry))
                tag, number = parts.get(1), parts.get(2)
                if isinstance(tag, bytes) and isinstance(number, float):
                    yield tag.decode("utf-8", "replace"), step, number


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == 1:
            yield key >> 3, struct.unpack_from("<d", message, at)[0]
            at += 8
        elif kind == 2:
            length, at = _varint(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        elif kind == 5:
            yield key >> 3, struct.unpack_from("<f", message, at)[0]
            at += 4
        else:
            raise ValueError(f"protobuf wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
