"""A file made from LoRAs: one in other words (`convert`), smaller (`cut_ranks`), without private
metadata (`strip`); several in one (`merge_loras`), or in a base (`merge_into_base`). The old files
stay, nothing is overwritten, and what has become of delta-W is measured on what was written.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorakit.errors import counted, refused
from lorakit.weights.adapters import (
    WRITTEN,
    AdapterNumbers,
    Array,
    Factors,
    opened_lora,
    read_array,
    stored,
    summed,
)
from lorakit.weights.forms import Group, Place, Tensors, groups_of, named, renamed, whole_module
from lorakit.weights.keys import MODEL, LoraFile, Module, read_lora
from lorakit.weights.module_names import open_clip_module
from lorakit.weights.safetensors import BITS, Header, copy_with_metadata, read_header, write

# Metadata that a program needs to use the file, and that say nothing about whose pictures it saw.
PUBLIC = ("ss_v2", "ss_base_model_version", "ss_network_", "sshs_", "format", "modelspec.")
IN_BOTH = ("sd15", "sd2", "sdxl", "flux", "qwen_image", "zimage")  # names in both worlds
PRIVATE = ("modelspec.thumbnail", "modelspec.author", "modelspec.merged_from", "ss_network_args")
STALE = ("sshs_", "modelspec.hash_sha256", "lora_adapter_metadata")  # true of the old tensors only

# Where single-file models keep their parts; the first that is there.
HEADS: Mapping[str, tuple[str, ...]] = {
    MODEL: ("model.diffusion_model.", "diffusion_model.", ""),
    "te1": ("conditioner.embedders.0.transformer.", "cond_stage_model.transformer."),
    "te2": ("conditioner.embedders.1.model.",),
}


@dataclass(frozen=True)
class Rewritten:
    path: Path
    modules: int
    error: float = 0.0  # of delta-W, relative
    blocks: Mapping[str, float] = field(default_factory=dict)  # block -> share of its norm lost
    notes: tuple[str, ...] = ()


class LayerChange(NamedTuple):
    """What one LoRA does to one tensor of the base: to a third of it, where it is q, k or v."""

    numbers: AdapterNumbers
    group: Group
    weight: float
    third: int | None


def convert(lora: LoraFile, target: Path, form: str, dtype: str = "") -> Rewritten:
    """The same delta-W under the names of another form."""
    _refuse_existing(target)
    _refuse_unknown_names(lora, form)
    tensors = Tensors()
    with opened_lora(lora) as numbers:
        for place, group in groups_of(lora).items():
            if any(module.kind != "LoRA" for _, module in group):
                tensors |= renamed(numbers, place, group, form)
            else:
                kind = dtype or _dtype_of(lora, group[0][1])
                tensors |= named(place, whole_module(numbers, group), lora.family, form, kind)
    _save(target, tensors, lora.header.metadata)
    left = f"{counted(len(lora.others), 'tensor')} of no adapter that lorakit knows left out"
    notes = (f"{left}, such as {lora.others[0]}.",) if lora.others else ()
    return Rewritten(target, len(lora.modules), delta_error(lora, read_lora(target)), notes=notes)


def cut_ranks(
    lora: LoraFile, target: Path, rank: int, *, energy: float = 1.0, dtype: str = ""
) -> Rewritten:
    """Every LoRA module at a lower rank, under its old names; what is of another kind stays."""
    _refuse_existing(target)
    tensors, lost, whole = Tensors(), dict[str, float](), dict[str, float]()
    with opened_lora(lora) as numbers:
        for module in lora.modules:
            old = numbers.product(module) if module.kind == "LoRA" else None
            if old is None or (old.rank <= rank and energy >= 1):
                tensors |= {
                    name: numbers.as_stored(module, role) for role, name in module.tensors.items()
                }
                continue
            small, share = old.cut(rank, energy)
            square = old.norm**2
            lost[module.block] = lost.get(module.block, 0.0) + share**2 * square
            whole[module.block] = whole.get(module.block, 0.0) + square
            if "alpha" in module.tensors:
                alpha = np.array(small.scale * small.rank)
                tensors[module.tensors["alpha"]] = stored(alpha, "F32")
            else:
                small = Factors(small.up * small.scale, small.down, 1.0, small.kernel)
            for role, array in zip(("down", "up"), small.shaped(), strict=True):
                kind = dtype or _dtype_of(lora, module)
                tensors[module.tensors[role]] = stored(array, kind)
    said = {"ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}
    known = {key: value for key, value in said.items() if key in lora.header.metadata}
    _save(target, tensors, {**lora.header.metadata, **known})
    shares = {block: math.sqrt(lost[block] / (whole[block] or 1.0)) for block in lost}
    error = math.sqrt(sum(lost.values()) / (sum(whole.values()) or 1.0))
    notes = () if shares else (f"no module has more than rank {rank}.",)
    return Rewritten(target, len(lora.modules), error, shares, notes)


def merge_loras(
    loras: Sequence[tuple[LoraFile, float]],
    target: Path,
    *,
    form: str = "kohya",
    rank: int = 0,
    dtype: str = "",
) -> Rewritten:
    """The weighted sum, exact where no rank is asked for: the ranks add up."""
    _refuse_existing(target)
    families = {lora.family for lora, _ in loras if lora.family}
    if len(families) > 1:
        what = f"are LoRAs of different families: {', '.join(sorted(families))}."
        raise refused(", ".join(lora.path.name for lora, _ in loras), what)
    parts: dict[Place, list[Factors]] = {}
    for lora, weight in loras:
        _refuse_unknown_names(lora, form)
        with opened_lora(lora) as numbers:
            for place, group in groups_of(lora).items():
                one = whole_module(numbers, group)
                scaled = Factors(one.up, one.down, one.scale * weight, one.kernel)
                parts.setdefault(place, []).append(scaled)
    family, tensors, worst = next(iter(families), ""), Tensors(), 0.0
    kind = dtype or _dtype_of(loras[0][0], loras[0][0].modules[0])
    for place, several in parts.items():
        if len({(len(one.up), one.down.shape[1]) for one in several}) > 1:
            raise refused(place[1], "has another size in each: they are for different models.")
        whole = summed(several)
        if rank and rank < whole.rank:
            whole, share = whole.cut(rank)
            worst = max(worst, share)
        tensors |= named(place, whole, family, form, kind)
    said = {
        key: value
        for key, value in loras[0][0].header.metadata.items()
        if key in {"ss_v2", "ss_base_model_version", "modelspec.architecture"}
    }
    names = ", ".join(f"{lora.path.stem} x {weight:g}" for lora, weight in loras)
    _save(target, tensors, {**said, "modelspec.merged_from": names})
    return Rewritten(target, len(parts), worst)


def merge_into_base(base: Path, loras: Sequence[tuple[LoraFile, float]], target: Path) -> Rewritten:
    header = read_header(base)
    with ExitStack() as stack:
        changes: dict[str, list[LayerChange]] = {}
        for lora, weight in loras:
            numbers = stack.enter_context(opened_lora(lora))
            homeless, groups = [], groups_of(lora)
            for (part, path), group in groups.items():
                name, third = home_of(header, part, path)
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
        write(target, tensors, header.metadata, _body(base, header, changes), new=True)
    return Rewritten(target, sum(map(len, changes.values())))


def home_of(header: Header, part: str, path: str) -> tuple[str, int | None]:
    path, third = open_clip_module(path) if part == "te2" else (path, None)
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
            else:
                yield from header.blocks(file, name)


def _add(whole: Array, change: LayerChange) -> None:
    (piece, module), *_ = change.group
    if piece is None:
        delta = change.numbers.delta(module)
    else:
        delta = whole_module(change.numbers, change.group).delta()
    rows = len(whole) if change.third is None else len(whole) // 3
    start = rows * (change.third or 0)
    part = whole[start : start + rows]
    if delta.size != part.size:
        what = f"adds {delta.shape} to a layer of {part.shape}: it is for another model."
        raise refused(str(change.numbers.lora.path), what)
    part += change.weight * delta.reshape(part.shape)


def strip(source: Path, target: Path, *, keep: Sequence[str] = ()) -> tuple[str, ...]:
    """The same tensors, byte for byte, under the metadata that programs need. Returns what went."""
    _refuse_existing(target)
    header = read_header(source)
    public = [key for key in header.metadata if key not in PRIVATE and key.startswith(PUBLIC)]
    stays = {key: one for key, one in header.metadata.items() if key in {*public, *keep}}
    copy_with_metadata(source, target, stays, new=True)
    return tuple(key for key in header.metadata if key not in stays)


def delta_error(before: LoraFile, after: LoraFile) -> float:
    """How far their delta-W are apart, the worst module, relative, on four random inputs."""
    worst, others, random = 0.0, groups_of(after), np.random.default_rng(0)
    with opened_lora(before) as old, opened_lora(after) as new:
        for place, group in groups_of(before).items():
            if any(module.kind != "LoRA" for _, module in group):
                continue
            one, other = whole_module(old, group), whole_module(new, others[place])
            given = random.standard_normal((one.down.shape[1], 4)).astype(np.float32)
            wanted, found = one.applied(given), other.applied(given)
            size = float(np.linalg.norm(wanted)) or 1.0
            worst = max(worst, float(np.linalg.norm(found - wanted)) / size)
    return worst


def _refuse_unknown_names(lora: LoraFile, form: str) -> None:
    theirs = {form, lora.form} & {"diffusers", "peft"}
    if theirs and form != lora.form and lora.family not in IN_BOTH:
        family = lora.family or "a family that nothing in it names"
        what = f"is for {family}; lorakit does not know what diffusers calls its modules."
        raise refused(
            str(lora.path), what, "Between kohya's form and ComfyUI's it can be converted."
        )


def _dtype_of(lora: LoraFile, module: Module) -> str:
    dtype = lora.header.tensors[next(iter(module.tensors.values()))].dtype
    if "down" in module.tensors:
        dtype = lora.header.tensors[module.tensors["down"]].dtype
    return dtype if dtype in WRITTEN else "BF16"


def _save(target: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """In the order of the format's own library, with the hash of the new tensors."""
    order = sorted(tensors, key=lambda name: (-BITS[tensors[name][0]], name))
    digest = hashlib.sha256()
    for name in order:
        digest.update(tensors[name][2])
    said = {key: one for key, one in metadata.items() if not key.startswith(STALE)}
    said["sshs_model_hash"] = digest.hexdigest()
    shapes = {name: tensors[name][:2] for name in order}
    write(target, shapes, said, (tensors[name][2] for name in order), new=True)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise refused(str(target), "is there already, and is left as it is.", "Name a new file.")
