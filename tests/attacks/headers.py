"""Headers of safetensors files, mutated: whatever the format's own library refuses, we refuse."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from test_safetensors import STRICTER, library_fault, mutated

from attacks.table import Case
from lorakit.weights.safetensors import HeaderError, read_header


def cases(folder: Path, count: int) -> Iterator[Case]:
    sound = [
        save({"a": np.ones(3, "<f4"), "b.c": np.zeros((2, 2), "<f2")}, metadata={"ss_steps": "3"}),
        save({"x": np.zeros((0, 4), "<f4"), "y": np.ones((), "<i8"), "z": np.ones(5, "u1")}),
    ]
    pick, path = random.Random(13), folder / "x.safetensors"
    for number in range(count):
        data = mutated(pick, pick.choice(sound))
        yield f"{number}: {data[8:60]!r}", lambda data=data: right(path, data)  # type: ignore[misc]


def right(path: Path, data: bytes) -> str:
    path.unlink(missing_ok=True)  # rewriting in place waits for the disk
    path.write_bytes(data)
    theirs, ours = library_fault(data), ""
    try:
        read_header(path)
    except HeaderError as error:
        ours = error.fault
    if theirs and not ours:
        return f"read, though the library refuses it: {theirs}"
    stricter = ours and not theirs and not any(words in ours for words in STRICTER)
    return f"refused, though the library reads it: {ours}" if stricter else ""
