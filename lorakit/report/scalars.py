"""Scalars out of tensorboard's event files without tensorboard: what `add_scalar` writes."""

import struct
from collections.abc import Iterator
from pathlib import Path

LARGEST = 64 << 20  # bytes of one file that are read; a longer one is a video log, not ours
Scalar = tuple[str, int, float]  # tag, x, value


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
    for field, value in _fields(body):
        if field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for field, entry in _fields(summary):
            if field == 1 and isinstance(entry, bytes):
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
