"""LoRAs merged into a base model of one file: the base streams through, and the layers that they
are for come out changed, in their own number format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lorakit.errors import refused
from lorakit.weights.adapters import AdapterNumbers, opened_lora
from lorakit.weights.arrays import WRITTEN, Array, read_array, stored
from lorakit.weights.forms import Group, groups_of, whole_module
from lorakit.weights.keys import MODEL, LoraFile
from lorakit.weights.module_names import FUSED, OPEN_CLIP
from lorakit.weights.rewrite import Rewritten, write_new_tensors
from lorakit.weights.safetensors import BLOCK, Header, read_header

# Where single-file models keep their parts; the first that is there.
HEADS: Mapping[str, tuple[str, ...]] = {
    MODEL: ("model.diffusion_model.", "diffusion_model.", ""),
    "te1": ("conditioner.embedders.0.transformer.", "cond_stage_model.transformer."),
    "te2": ("conditioner.embedders.1.model.",),
}


class LayerChange(NamedTuple):
    """What one LoRA does to one tensor of the base: to a third of it, where it is q, k or v."""

    numbers: AdapterNumbers
    group: Group
    weight: float
    third: int | None


def merge_into_base(base: Path, loras: Sequence[tuple[LoraFile, float]], target: Path) -> Rewritten:
    header = read_header(base)
    with ExitStack() as stack:
        changes: dict[str, list[LayerChange]] = {}
        for lora, weight in loras:
            numbers = stack.enter_context(opened_lora(lora))
            homeless, groups = [], groups_of(lora)
            for (part, path), group in groups.items():
                name, third = _home(header, part, path)
                changes.setdefault(name, []).append(LayerChange(numbers, group, weight, third))
                homeless += [] if name else [path]
            if homeless:
                what = f"{base.name} has no layer for {len(homeless)} of its {len(groups)} modules:"
                hint = "It is for another model, or for parts that are in other files."
                raise refused(str(lora.path), f"{what} {homeless[0]}.", hint)
        for name in changes:
            if (dtype := header.tensors[name].dtype) not in WRITTEN:
                what = f"its {name} is {dtype}; merged numbers are written as {', '.join(WRITTEN)}."
                raise refused(str(base), what, "Take the base in bf16 or fp16.")
        tensors = {name: (one.dtype, one.shape) for name, one in header.in_order()}
        write_new_tensors(target, tensors, header.metadata, _body(base, header, changes))
    return Rewritten(target, sum(map(len, changes.values())))


def _home(header: Header, part: str, path: str) -> tuple[str, int | None]:
    third = None
    if part == "te2":
        found = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)", path)
        layer, inner = found.groups() if found else ("", path)
        third = FUSED.index(inner) if inner in FUSED else None
        inner = "attn.in_proj" if third is not None else OPEN_CLIP.get(inner, inner)
        path = f"transformer.resblocks.{layer}.{inner}"
    tail = "_weight" if third is not None else ".weight"
    names = (f"{head}{path}{tail}" for head in HEADS.get(part, ()))
    return next((name for name in names if name in header.tensors), ""), third


def _body(
    base: Path, header: Header, changes: Mapping[str, Sequence[LayerChange]]
) -> Iterator[bytes]:
    with base.open("rb") as file:
        for name, tensor in header.in_order():
            if name in changes:
                whole = read_array(file, header, name).copy()
                for change in changes[name]:
                    _add(whole, change)
                yield stored(whole, tensor.dtype)[2]
                continue
            file.seek(header.begin + tensor.start)
            left = tensor.stop - tensor.start
            while left:
                data = file.read(min(left, BLOCK))
                left -= len(data)
                yield data


def _add(whole: Array, change: LayerChange) -> None:
    (piece, module), *_ = change.group
    split = piece is not None
    delta = (
        whole_module(change.numbers, change.group).delta()
        if split
        else change.numbers.delta(module)
    )
    rows = len(whole) if change.third is None else len(whole) // 3
    start = rows * (change.third or 0)
    part = whole[start : start + rows]
    if delta.size != part.size:
        what = f"adds {delta.shape} to a layer of {part.shape}: it is for another model."
        raise refused(str(change.numbers.lora.path), what)
    part += change.weight * delta.reshape(part.shape)
