"""The header of a safetensors file: names, types, shapes and metadata of its tensors, without
reading one of them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER = 100_000_000  # the format's own limit
SIZES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
}


class HeaderError(ValueError):
    """Why this file is no whole safetensors file, in words for a person."""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        total = 1
        for side in self.shape:
            total *= side
        return total


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data_bytes: int  # what the header says the tensors take

    def dtypes(self) -> dict[str, int]:
        """Elements by type."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.count
        return found


def read_header(path: Path) -> Header:
    """Raises HeaderError, also for a file that is shorter than its header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= MAX_HEADER or length + 8 > size:
                raise HeaderError(_what_else(path, start, size))
            data = json.loads(file.read(length).decode("utf-8"))
    except OSError as error:
        raise HeaderError(f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise HeaderError(_what_else(path, start, size)) from error
    return _parsed(data, 8 + length, size)


def _parsed(data: Any, start: int, size: int) -> Header:
    if not isinstance(data, dict):
        raise HeaderError("its header is no table")
    metadata = data.pop("__metadata__", {})
    try:
        tensors = {
            name: Tensor(entry["dtype"], tuple(entry["shape"])) for name, entry in data.items()
        }
        end = max((entry["data_offsets"][1] for entry in data.values()), default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise HeaderError("its header does not describe tensors") from error
    if start + end > size:
        raise HeaderError(
            f"it is cut short: {size:,} of {start + end:,} bytes are there; download or copy it"
            " again"
        )
    return Header(tensors, metadata if isinstance(metadata, dict) else {}, end)


def _what_else(path: Path, start: bytes, size: int) -> str:
    """The usual mistakes, by their first bytes."""
    if size == 0:
        return "it is empty"
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "it is a pickled checkpoint, not safetensors"
    if start.startswith(b"version "):
        return "it is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.lstrip().lower().startswith((b"<!doct", b"<html", b"<?xml")):
        return "it is a web page, not a model: the download failed (a gated model needs a login)"
    if start.startswith(b"GGUF"):
        return "it is a GGUF file, which the training scripts cannot load"
    return (
        f"it is no safetensors file ({path.suffix or 'no suffix'}, {size:,} bytes), or it is cut"
        " short"
    )
