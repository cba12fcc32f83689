"""The one reader and the one writer of safetensors files, by the format's rules and as strict as
its library or stricter. The reader looks at the header alone; neither needs numpy or torch.
"""

import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from lorakit import json_text
from lorakit.catalogue.file_names import CheckpointName
from lorakit.errors import SetupError, counted
from lorakit.files import into_place

MAX_HEADER = 100_000_000  # the library's own limit
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
BLOCK = 1 << 22
Shape = tuple[int, ...]


class HeaderError(SetupError):
    """Why a file is not a valid safetensors file. `fault` continues its name: "is cut short"."""

    def __init__(self, path: Path, fault: str) -> None:
        text = fault if fault.startswith("its ") else f"it {fault}"
        super().__init__(
            f"{path}: there is no such file."
            if fault == "does not exist"
            else f"{path}: not a valid safetensors file ({text})."
        )
        self.fault = fault


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: Shape
    start: int  # of its bytes, counted from the end of the header
    stop: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    begin: int  # where in the file the first tensor begins
    data_bytes: int

    @property
    def steps(self) -> int | None:
        """How long it was trained, as kohya writes it, or ai-toolkit into its last file."""
        with suppress(ValueError, TypeError, KeyError):
            return int(json_text.loads(self.metadata["training_info"])["step"])
        return self.number("ss_steps")

    def number(self, key: str) -> int | None:
        text = self.metadata.get(key, "")
        return int(text) if text.isdecimal() else None

    def dtypes(self) -> dict[str, int]:
        """Elements by type."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.count
        return found

    def in_order(self) -> list[tuple[str, Tensor]]:
        return sorted(self.tensors.items(), key=lambda item: (item[1].start, item[1].stop))

    def blocks(self, file: BinaryIO, name: str) -> Iterator[bytes]:
        tensor = self.tensors[name]
        file.seek(self.begin + tensor.start)
        left = tensor.stop - tensor.start
        while left > 0 and (block := file.read(min(left, BLOCK))):
            left -= len(block)
            yield block


def read_header(path: Path) -> Header:
    """Raises HeaderError for whatever is not a sound and complete file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # never wait for a pipe, never touch a device
            raise _Wrong("is not a regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if size < 10 or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise _Wrong(_what_else(start + file.read(64), size))
            return _parsed(file.read(length), size)
    except _Wrong as wrong:
        raise HeaderError(path, str(wrong)) from None
    except FileNotFoundError:
        raise HeaderError(path, "does not exist") from None
    except OSError as error:
        raise HeaderError(path, f"cannot be read: {error.strerror or error}") from error


def steps_of(path: Path) -> int | None:
    """ss_steps of a file that may be missing or damaged; a name that counts from 0 goes before."""
    try:
        steps = read_header(path).steps
    except HeaderError:
        return None
    name = CheckpointName.parse(path.name)
    return name.step if name and name.from_zero and name.step else steps


def planned_steps_of(path: Path) -> int | None:
    """How long the script itself meant to train, likewise."""
    try:
        return read_header(path).number("ss_max_train_steps")
    except HeaderError:
        return None


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, Shape]],
    metadata: Mapping[str, str],
    body: Iterable[bytes] | None,
    *,
    new: bool = False,
) -> None:
    """Streamed beside its place, then moved; `new`: only to where nothing is, however close the
    race. Without a body the tensors are a hole: zeros that take no room on the disk.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with into_place(path, new=new) as beside, beside.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        if body is None:
            out.truncate(out.tell() + end)
        elif (written := sum(map(out.write, body))) != end:
            raise ValueError(f"{written} bytes for tensors of {end}")
        out.flush()
        os.fsync(out.fileno())
        beside.chmod(0o644)


def copy_with_metadata(
    source: Path, target: Path, metadata: Mapping[str, str], *, new: bool = False
) -> None:
    header = read_header(source)
    tensors = {name: (one.dtype, one.shape) for name, one in header.in_order()}
    with source.open("rb") as old:
        old.seek(header.begin)
        write(target, tensors, metadata, iter(lambda: old.read(BLOCK), b""), new=new)


class _Wrong(Exception):  # noqa: N818  (never leaves this file)
    pass


def _malformed(why: str) -> NoReturn:
    raise _Wrong(f"its header is malformed: {why}")


def _parsed(text: bytes, size: int) -> Header:
    if not text.startswith(b"{"):
        raise _Wrong("its header does not begin with {")
    try:
        data = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_constant=lambda word: _malformed(f"{word} is not a number"),
            parse_int=lambda word: -1 if word == "-0" else int(word),
        )
        if b"\\u" in text:  # an escape may hide half a character
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        _malformed("not valid UTF-8")
    except UnicodeEncodeError:
        _malformed("not valid Unicode")
    except RecursionError:
        _malformed("nested too deeply")
    except ValueError as error:
        _malformed(str(error))
    metadata = data.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(m, str) for m in metadata.values()):
        _malformed("__metadata__ is not a table of texts")
    header = Header(
        {name: _tensor(name, entry) for name, entry in data.items()},
        metadata,
        8 + len(text),
        size - 8 - len(text),
    )
    end = _end(header.in_order())
    if end > header.data_bytes:
        raise _Wrong(f"is cut short: {size:,} of {header.begin + end:,} bytes are there")
    if end < header.data_bytes:
        raise _Wrong(f"is {counted(header.data_bytes - end, 'byte')} longer than its header says")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        _malformed(f"{next(n for n in names if names.count(n) > 1)!r:.99} is there twice")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    if not isinstance(entry, dict):
        _malformed(f"{name:.99} is not a table")
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        _malformed(f"{name:.99} has keys other than dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _malformed(f"{name:.99} has the unknown type {dtype!r:.99}")
    if not _counts(shape):
        _malformed(f"{name:.99} has no valid shape")
    if not _counts(offsets) or len(offsets) != 2:
        _malformed(f"{name:.99} has no valid place")
    bits = 1
    for side in (*shape, BITS[dtype]):  # in the library's order, which refuses what overflows
        bits *= side
        if bits >= 1 << 64:
            _malformed(f"{name:.99} is too large")
    if bits != 8 * (offsets[1] - offsets[0]):
        _malformed(f"{name:.99} takes {bits / 8:,g} bytes, not {offsets[1] - offsets[0]:,}")
    return Tensor(dtype, tuple(shape), *offsets)


def _counts(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(
        type(number) is int and 0 <= number < 1 << 64 for number in numbers
    )


def _end(tensors: Iterable[tuple[str, Tensor]]) -> int:
    end = 0
    for name, tensor in tensors:
        if tensor.start < end:
            raise _Wrong(f"has tensors that overlap: {name:.99} begins inside another")
        if tensor.start > end:
            raise _Wrong(f"has a gap before {name:.99}")
        end = tensor.stop
    return end


def _what_else(start: bytes, size: int) -> str:
    """The usual mistakes, by their first bytes."""
    if not size:
        return "is empty"
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "is a pickled checkpoint, not safetensors"
    if start.startswith(b"version "):
        return "is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.lstrip().lower().startswith((b"<!doct", b"<html", b"<?xml")):
        return "is a web page, not a model: the download failed (a gated model needs a login)"
    if start.startswith(b"GGUF"):
        return "is a GGUF file, which the training scripts cannot load"
    length = int.from_bytes(start[:8], "little")
    if size < 10 or (start[8:9] == b"{" and length <= MAX_HEADER):
        return f"is cut short: {size:,} bytes do not hold its header"
    return f"is not a safetensors file: its header would have {length:,} bytes"
