"""Safetensors files read straight into a module that has no memory yet: each tensor once, in the
wanted type, nothing held twice.
"""

import math
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lorakit.errors import SetupError, did_you_mean
from lorakit.weights.identify import PICKLED
from lorakit.weights.safetensors import Shape, Tensor, read_header

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


class TensorPart(NamedTuple):
    """Rows start:stop of a tensor in a file; a weight's parts follow along its first dimension."""

    name: str
    start: int = 0
    stop: int | None = None
    transposed: bool = False


Layout = Mapping[str, tuple[TensorPart, ...]]  # the module's own name -> where it is in the files


class Tensors:
    """The tensors of one or several files under one set of names, read on demand."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.entries = {name: entry for path in self.paths for name, entry in _entries(path)}

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def shape(self, name: str) -> Shape:
        return self.entries[name][2].shape

    def rows(self, part: TensorPart) -> int:
        whole = (self.shape(part.name) or (1,))[0]
        return (whole if part.stop is None else part.stop) - part.start

    def count(self, part: TensorPart) -> int:
        return self.rows(part) * math.prod(self.shape(part.name)[1:])

    def read(self, part: TensorPart) -> torch.Tensor:
        """Straight into memory that torch owns: no file is mapped."""
        path, begin, entry = self.entries[part.name]
        dtype, inner = DTYPES[entry.dtype], entry.shape[1:]
        row = math.prod(inner) * dtype.itemsize
        raw = torch.empty(self.rows(part) * row, dtype=torch.uint8)
        with path.open("rb") as file:
            file.seek(begin + entry.start + part.start * row)
            if file.readinto(raw.numpy()) < len(raw):
                raise SetupError(f"{path}: cut short while it was read.")
        values = raw.view(dtype).view(self.rows(part), *inner)
        return values.t() if part.transposed else values


def _entries(path: Path) -> Iterator[tuple[str, tuple[Path, int, Tensor]]]:
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
        yield name, (path, header.begin, found)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module without memory or random numbers."""
    with torch.device("meta"), _Uninitialised():
        return build()


class _Uninitialised(TorchFunctionMode):
    """No first values: to draw them without memory imports torch's compiler (a second, 70 MB)."""

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
    """Memory and values for every weight of `module`, which is frozen and left in eval mode."""
    wanted = dict(module.named_parameters())
    missing = [
        name
        for name in wanted
        if name not in layout or any(part.name not in tensors for part in layout[name])
    ]
    if missing:
        raise SetupError(_missing(missing, tensors, layout, what))

    home = _side_by_side(module, dtype, device)

    def give(name: str, old: torch.Tensor) -> None:
        _check_shape(name, layout[name], old, tensors, what)
        parts = [tensors.read(part) for part in layout[name]]
        value = (torch.cat(parts) if len(parts) > 1 else parts[0]).reshape(old.shape)
        value = home[name].copy_(value) if name in home else value.to(device, dtype).contiguous()
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))

    # Reading, converting and fresh memory cost the same again each.
    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(give, wanted, wanted.values()))
    module.eval()


def _side_by_side(
    module: nn.Module, dtype: torch.dtype, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """Memory for weights that are given the same (`alike`), so that one product can take them."""
    names = {layer: f"{name}.weight" for name, layer in module.named_modules()}
    places: dict[str, torch.Tensor] = {}
    for layers in (part.alike for part in module.modules() if hasattr(part, "alike")):
        rows = [len(layer.weight) for layer in layers]
        whole = torch.empty(sum(rows), layers[0].in_features, dtype=dtype, device=device)
        places |= zip([names[layer] for layer in layers], whole.split(rows), strict=True)
    return places


OLDER = {  # names that early files have: bare CLIPs, a VAE's attention, T5's table
    "text_model.": "",
    ".attentions.0.to_q.": ".attentions.0.query.",
    ".attentions.0.to_k.": ".attentions.0.key.",
    ".attentions.0.to_v.": ".attentions.0.value.",
    ".attentions.0.to_out.0.": ".attentions.0.proj_attn.",
    "shared.": "encoder.embed_tokens.",
}


def same_names(
    module: nn.Module, prefix: str = "", tensors: Container[str] = ()
) -> dict[str, tuple[TensorPart, ...]]:
    """The module's own names after a prefix, or older ones where the files have those."""
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in module.named_parameters():
        older = name
        for ours, theirs in OLDER.items():
            older = older.replace(ours, theirs)
        found = older if prefix + older in tensors else name
        layout[name] = (TensorPart(prefix + found),)
    return layout


def _check_shape(
    name: str, parts: tuple[TensorPart, ...], old: Any, tensors: Tensors, what: str
) -> None:
    if sum(map(tensors.count, parts)) != old.numel():
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
