"""Between folders named N_tokens and kohya's dataset TOML. Images are only copied."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.dataset.build.originals import copy_file
from lorakit.dataset.facts import DatasetFacts, format_folder, is_image_name
from lorakit.dataset.rules import shown
from lorakit.errors import Fault
from lorakit.files import sha256
from lorakit.portable import folded
from lorakit.toml_text import proven, table_text

# what folders can say
CARRIED = frozenset({"image_dir", "num_repeats", "class_tokens", "is_reg", "caption_extension"})


Copy = tuple[Path, Path]  # from, to


def to_toml(facts: DatasetFacts, caption_extension: str, options: Mapping[str, Any]) -> str:
    """`options`: what [[datasets]] says beside its subsets (resolution, batch_size)."""
    subsets = [
        {
            "image_dir": subset.path.absolute().as_posix(),
            "num_repeats": subset.repeats,
            "class_tokens": subset.class_tokens,
            **({"is_reg": True} if subset.is_reg else {}),
        }
        for subset in facts.subsets
    ]
    tables = "".join(f"\n[[datasets.subsets]]\n{table_text(subset)}" for subset in subsets)
    general = {"caption_extension": caption_extension}
    text = f"[general]\n{table_text(general)}\n[[datasets]]\n{table_text(options)}{tables}"
    meant = {"general": general, "datasets": [{**options, "subsets": subsets}]}
    return proven("dataset.toml", text, meant)


def read_toml(
    path: Path, *, root: Path, reg: Path, caption_extension: str
) -> tuple[list[Copy], list[Fault]]:
    """Every copy that makes folders of the TOML's subsets, and what folders cannot say."""
    data = tomllib.read(path)
    copies: list[Copy] = []
    notes: list[Fault] = []
    for dataset in _tables(data.get("datasets")):
        for subset in _tables(dataset.get("subsets")):
            merged = {**_table(data.get("general")), **dataset, **subset}
            image_dir = merged.get("image_dir")
            if not isinstance(image_dir, str):
                notes.append(_fault(path, "a subset without image_dir (metadata is not read)."))
                continue
            lost = ", ".join(sorted(set(merged) - CARRIED - {"subsets"}))
            if lost:
                what, hint = f"folders cannot say: {lost}.", "Put them into the recipe's [train]."
                notes.append(Fault(shown(image_dir), what, hint, "from-toml", "warning"))
            home = reg if merged.get("is_reg") else root
            copies += _subset(path.parent / image_dir, home, merged, caption_extension, notes)
    if not copies and not notes:
        notes.append(_fault(path, "names no images."))
    return copies, notes + _clashes(copies)


def _fault(where: Path, what: str) -> Fault:
    return Fault(shown(where), what, rule="from-toml")


def _subset(
    folder: Path, home: Path, merged: Mapping[str, Any], suffix: str, notes: list[Fault]
) -> list[Copy]:
    repeats = merged.get("num_repeats", 1)
    if not folder.is_dir():
        notes.append(_fault(folder, "there is no such folder."))
        return []
    if not isinstance(repeats, int):
        notes.append(_fault(folder, f"num_repeats = {repeats!r} is not an integer."))
        return []
    to = home / format_folder(repeats, str(merged.get("class_tokens") or folder.name))
    before = "." + str(merged.get("caption_extension", ".caption")).removeprefix(".")
    copies = []
    for name in sorted(os.listdir(folder)):
        if is_image_name(name) and (folder / name).is_file():
            stem = os.path.splitext(name)[0]
            copies.append((folder / name, to / name))
            if os.path.isfile(folder / (stem + before)):
                copies.append((folder / (stem + before), to / (stem + suffix)))
    return copies


def _clashes(copies: Sequence[Copy]) -> list[Fault]:
    """Places where something else is, or where two files would go."""
    firsts: dict[str, Path] = {}
    found = []
    for source, to in copies:
        first = firsts.setdefault(folded(str(to)), source)
        other = first if first != source else to if to.exists() else None
        if other is not None and sha256(other) != sha256(source):
            what = f"{shown(source)} would take the place of {shown(other)}."
            found.append(_fault(to, what))
    return found


def do_copies(copies: Sequence[Copy]) -> int:
    """What is there already stays. Returns how many were copied."""
    count = 0
    for source, to in copies:
        if not os.path.lexists(to):
            with suppress(FileExistsError):  # it came just now
                copy_file(source, to)
                count += 1
    return count


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
