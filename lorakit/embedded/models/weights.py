"""Safetensors files read straight into a module that has no memory yet: each tensor once, in the
wanted type, nothing held twice.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lorakit.errors import SetupError, did_you_mean
from lorakit.weights.identify import PICKLED
from lorakit.weights.safetensors import read_header

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
READERS = min(4, os.cpu_count() or 1)
STAGING = 4 << 20


class TensorPart(NamedTuple):
    """Rows start:stop of a tensor in a file; the parts of one weight follow each other along its
    first dimension.
    """

    name: str
    start: int = 0
    stop: int | None = None
    transposed: bool = False


Layout = Mapping[str, tuple[TensorPart, ...]]  # the module's own name -> where it is in the files


@dataclass(frozen=True)
class Stored:
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int  # of the first byte, counted from the start of the file

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


class Tensors:
    """The tensors of one or several files under one set of names, read on demand."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.entries = {name: entry for path in self.paths for name, entry in _entries(path)}

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def shape(self, name: str) -> tuple[int, ...]:
        return self.entries[name].shape

    def starting(self, prefix: str) -> list[str]:
        return [name for name in self.entries if name.startswith(prefix)]


def _entries(path: Path) -> Iterator[tuple[str, Stored]]:
    if path.suffix.lower() in PICKLED:
        raise SetupError(
            f"{path}: a pickle can run any program when it is read; lorakit reads .safetensors"
            " only.",
            hint="Convert it once with a tool you trust, or download the .safetensors version.",
        )
    header = read_header(path)
    for name, found in header.tensors.items():
        if found.dtype not in DTYPES:
            raise SetupError(f"{path}: {name} has the type {found.dtype}, which torch cannot read.")
        yield name, Stored(path, DTYPES[found.dtype], found.shape, header.begin + found.start)


class _Reader:
    """Positional reads into memory that torch owns; a staging buffer serves every tensor whose
    type must change.
    """

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.handles = {path: os.open(path, os.O_RDONLY) for path in tensors.paths}
        self.own = threading.local()  # a staging buffer for each thread

    def close(self) -> None:
        for handle in self.handles.values():
            os.close(handle)

    def copy(self, part: TensorPart, target: torch.Tensor) -> None:
        """One part into `target`, whose shape has as many elements; straight from the file where
        type and place allow it.
        """
        entry = self.tensors.entries[part.name]
        start, stop = part.start, entry.rows if part.stop is None else part.stop
        size = (stop - start) * entry.row_bytes
        if part.transposed:
            target.copy_(self._staged(entry, start, size).view(stop - start, *entry.shape[1:]).t())
        elif target.device.type == "cpu" and target.dtype == entry.dtype:
            self._fill(target.view(-1).view(torch.uint8), entry, start, size)
        else:
            rows = target.view(stop - start, -1)
            step = max(1, STAGING // entry.row_bytes)
            for first in range(0, len(rows), step):  # in pieces that stay in the processor's cache
                chunk = rows[first : first + step]
                raw = self._staged(entry, start + first, len(chunk) * entry.row_bytes)
                chunk.copy_(raw.view(chunk.shape))

    def _staged(self, entry: Stored, start: int, size: int) -> torch.Tensor:
        if not hasattr(self.own, "staging") or self.own.staging.numel() < size:
            self.own.staging = torch.empty(size, dtype=torch.uint8)
        raw: torch.Tensor = self.own.staging[:size]
        self._fill(raw, entry, start, size)
        return raw.view(entry.dtype)

    def _fill(self, raw: torch.Tensor, entry: Stored, start: int, size: int) -> None:
        view = memoryview(raw.numpy())
        offset, done = entry.offset + start * entry.row_bytes, 0
        while done < size:
            count = os.preadv(self.handles[entry.path], [view[done:size]], offset + done)
            if not count:
                raise SetupError(f"{entry.path}: cut short while it was read.")
            done += count


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module without memory or random numbers."""
    with torch.device("meta"), _Uninitialised():
        return build()


class _Uninitialised(TorchFunctionMode):
    """No first values: there is nothing to put them in, and drawing them without memory imports
    torch's compiler (a second, 70 MB).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def fill(
    module: nn.Module,
    tensors: Tensors,
    layout: Layout,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    what: str,
) -> None:
    """Give every weight of `module` its memory and its value; the weights are frozen, and the
    module is left in eval mode.
    """
    wanted = dict(module.named_parameters())
    missing = [
        name
        for name in wanted
        if name not in layout or any(part.name not in tensors for part in layout[name])
    ]
    if missing:
        raise SetupError(_missing(missing, tensors, layout, what))
    reader = _Reader(tensors)

    def give(name: str, old: torch.Tensor) -> None:
        parts = layout[name]
        _check_shape(name, parts, old, tensors, what)
        value = torch.empty(old.shape, dtype=dtype, device=device)
        done = 0
        for part in parts:
            rows = old.shape[0] if len(parts) == 1 else _rows(part, tensors)
            reader.copy(part, value[done : done + rows] if len(parts) > 1 else value)
            done += rows
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))

    try:
        # Reading, converting and fresh memory cost the same again each.
        with ThreadPoolExecutor(READERS) as readers:
            list(readers.map(give, wanted, wanted.values()))
    finally:
        reader.close()
    for name, buffer in module.named_buffers():
        if buffer.is_meta:
            raise AssertionError(f"{name}: a buffer without a value")
    module.eval()


def same_names(module: nn.Module, prefix: str = "") -> dict[str, tuple[TensorPart, ...]]:
    """The layout of files that use the module's own names, after a prefix."""
    return {name: (TensorPart(prefix + name),) for name, _ in module.named_parameters()}


def _rows(part: TensorPart, tensors: Tensors) -> int:
    return (tensors.entries[part.name].rows if part.stop is None else part.stop) - part.start


def _check_shape(
    name: str, parts: tuple[TensorPart, ...], old: Any, tensors: Tensors, what: str
) -> None:
    shapes = [tensors.shape(part.name) for part in parts]
    counts = [
        _rows(part, tensors) * math.prod(s[1:]) for part, s in zip(parts, shapes, strict=True)
    ]
    if sum(counts) != old.numel():
        found = " + ".join(f"{part.name} {list(tensors.shape(part.name))}" for part in parts)
        raise SetupError(
            f"{tensors.paths[0]}: {name} of the {what} should be {list(old.shape)}, but the file"
            f" has {found}."
        )


def _missing(missing: list[str], tensors: Tensors, layout: Layout, what: str) -> str:
    first = missing[0]
    name = layout[first][0].name if first in layout else first
    near = did_you_mean(name, tensors.entries)
    where = tensors.paths[0] if tensors.paths else "(no file)"
    return (
        f"{where}: {len(missing)} weights of the {what} are not in the file, the first is {name}."
        f" {near}".rstrip()
    )
