"""One module's adapter, read as one product, whether or not diffusers has split the module, and
written in the words of another form. delta-W stays what it is.
"""

import math
from collections.abc import Iterator

import numpy as np

from lorakit.errors import refused
from lorakit.weights.adapters import AdapterNumbers, Factors, stored
from lorakit.weights.keys import KOHYA, MODEL, LoraFile, Module, key_head, native_path, paths_in
from lorakit.weights.safetensors import Shape

Tensors = dict[str, tuple[str, Shape, bytes]]
Place = tuple[str, str]  # part, the module in its makers' words
Group = list[tuple[int | None, Module]]  # a module's adapters; several where diffusers split it
SUFFIX = {"down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight"}
SPLIT = (1, 1, 1, 4)  # rows of q, k, v and (in a single block) the MLP, in widths of the model


def groups_of(lora: LoraFile) -> dict[Place, Group]:
    """The adapters by the module that they change."""
    groups: dict[Place, Group] = {}
    for module in lora.modules:
        path, piece = module.path, None
        if module.part == MODEL:
            path, piece = native_path(path, lora.family)
        groups.setdefault((module.part, path), []).append((piece, module))
    return groups


def whole_module(numbers: AdapterNumbers, group: Group) -> Factors:
    """One product for the whole module. Of pieces that share their lower factor (a fused module
    that was split) it has the rank of one; of others the ranks add up.
    """
    found = [(piece, numbers.product(module)) for piece, module in group]
    first = found[0][1]
    if found[0][0] is None:
        return first
    width = first.down.shape[1]
    rows = [width * share for share in SPLIT[: 4 if "single" in group[0][1].path else 3]]
    shared = all(np.array_equal(one.down, first.down) for _, one in found)
    columns = [0 if shared else sum(one.rank for _, one in found[:n]) for n in range(len(found))]
    up = np.zeros((sum(rows), max(at + found[-1][1].rank for at in columns)), dtype=np.float32)
    for (piece, one), at in zip(found, columns, strict=True):
        start = sum(rows[: piece or 0])
        up[start : start + len(one.up), at : at + one.rank] = one.up * one.scale
    return Factors(up, first.down if shared else np.vstack([one.down for _, one in found]))


def named(place: Place, whole: Factors, family: str, form: str, dtype: str) -> Tensors:
    """The tensors of one module in a form. Kohya's keeps alpha; the others have it multiplied in,
    shared between the factors by a power of two, which costs no digit.
    """
    part, native = place
    paths, tensors = paths_in(form, part, native, family), Tensors()
    for path, one in zip(paths, _pieces(whole, len(paths)), strict=True):
        head = key_head(part, path, family, form)
        if form == KOHYA:
            tensors[f"{head}.alpha"] = stored(np.array(one.scale * one.rank), "F32")
            names, (down, up) = ("lora_down", "lora_up"), one.shaped()
        else:
            half = 2.0 ** round(math.log2(abs(one.scale) or 1.0) / 2)
            shared = Factors(one.up * (one.scale / half), one.down * half, 1.0, one.kernel)
            names, (down, up) = ("lora_A", "lora_B"), shared.shaped()
        for name, array in zip(names, (down, up), strict=True):
            tensors[f"{head}.{name}.weight"] = stored(array, dtype)
    return tensors


def renamed(numbers: AdapterNumbers, place: Place, group: Group, form: str) -> Tensors:
    """LoHa, LoKr, DoRA and whole differences keep their numbers. Only kohya's form and ComfyUI's
    hold them, and none can be taken to pieces.
    """
    lora, (part, native), module = numbers.lora, place, group[0][1]
    paths = paths_in(form, part, native, lora.family)
    if form == "diffusers" or len(group) + len(paths) > 2:
        what = f"holds {module.kind} modules, which diffusers' form cannot say as they are."
        raise refused(str(lora.path), what, "ComfyUI reads them: --to comfy, or --to kohya.")
    head = key_head(part, paths[0], lora.family, form)
    suffix = {**SUFFIX, "dora": "dora_scale"}
    return {
        f"{head}.{suffix.get(role, role)}": numbers.as_stored(module, role)
        for role in module.tensors
    }


def _pieces(whole: Factors, count: int) -> Iterator[Factors]:
    """The rows that each of diffusers' modules has of a fused one, with those ranks alone that it
    uses, where they were put together from such pieces.
    """
    if count == 1:
        yield whole
        return
    start = 0
    for rows in (whole.down.shape[1] * share for share in SPLIT[:count]):
        up = whole.up[start : start + rows]
        used = np.flatnonzero(up.any(axis=0))
        mine = used if 0 < len(used) < whole.rank else slice(None)
        yield Factors(up[:, mine], whole.down[mine], whole.scale, whole.kernel)
        start += rows
