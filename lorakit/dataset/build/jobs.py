"""What is to be prepared: every original, the subset it belongs to, and the place of its prepared
file. Reads names only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit import json_text
from lorakit.dataset.build.fit import SUFFIXES, Settings
from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.build.originals import (
    ORIGINALS,
    SubsetPlan,
    clean_name,
    free_stem,
    name_of,
    read_subsets,
)
from lorakit.dataset.build.remembered import read_remembered
from lorakit.dataset.folder_names import NotASubset, format_folder, parse_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import looks_like_image
from lorakit.errors import RecipeError
from lorakit.portable import folded
from lorakit.user_files import Missing


@dataclass(frozen=True)
class FitJob:
    """One picture to be made; travels to a worker."""

    root: Path
    source: Path
    target: Path
    settings: Settings
    tag: str = ""
    trigger: str = ""


def jobs_of(
    root: Path,
    settings: Settings,
    *,
    repeats: int | None = None,
    trigger: str = "",
    source: Path | None = None,
) -> list[FitJob]:
    """Every original and the place of its prepared file. `source`: a folder of images to use where
    there are no originals.
    """
    known = read_subsets(root)
    manifest = Manifest(root)
    taken: dict[Path, set[str]] = {}
    jobs: list[FitJob] = []
    assigned, kept = read_assigned(root), read_remembered(root)
    own = {entry.source: Path(entry.file).stem for entry in manifest.entries.values()}
    images = [
        (path, _assigned(subset, assigned.get(name_of(root, path)), known))
        for folder, subset in _sources(root, known, trigger, source)
        for path in _images(folder, skip=root.resolve())
        if name_of(root, path) not in kept.dropped
    ]
    # those with a place keep it
    for path, subset in sorted(images, key=lambda pair: name_of(root, pair[0]) not in own):
        target = folder_for(root, subset.tokens, repeats or subset.repeats)
        stems = taken.setdefault(target, set())
        stem = own.get(name_of(root, path), "")
        if not stem or folded(stem) in stems:
            stem = free_stem(os.path.splitext(clean_name(path.name))[0], stems)
        stems.add(folded(stem))
        place = target / f"{stem}{SUFFIXES[settings.format]}"
        crop = kept.crops.get(name_of(root, path))
        own_settings = replace(settings, crop=crop) if crop else settings
        jobs.append(FitJob(root, path, place, own_settings, subset.tag, subset.trigger))
    if not jobs:
        raise RecipeError(
            f"{root}: there are no originals to prepare.",
            hint="Add some: lorakit dataset add TARGET PATHS; or name a folder outside the dataset:"
            " --from DIR",
        )
    return jobs


def assigned_path(root: Path) -> Path:
    return root / FOLDER / "assigned.json"


def read_assigned(root: Path) -> dict[str, str]:
    """Originals that `dataset layout` has put into another subset than their folder's: original to
    class tokens.
    """
    try:
        data = json_text.read(assigned_path(root))
    except Missing:
        return {}
    pairs = data.items() if isinstance(data, dict) else ()
    return {str(name): str(tokens) for name, tokens in pairs}


def _assigned(
    subset: SubsetPlan, tokens: str | None, known: Mapping[str, SubsetPlan]
) -> SubsetPlan:
    return subset if tokens is None else known.get(tokens, SubsetPlan(subset.repeats, tokens))


def _sources(
    root: Path, known: Mapping[str, SubsetPlan], trigger: str, source: Path | None
) -> Iterator[tuple[Path, SubsetPlan]]:
    if source is not None:
        if not source.is_dir():
            raise RecipeError(f"{source}: there is no such folder.")
        _refuse_inside(root, source)
        yield source, SubsetPlan(10, trigger or root.name)
        return
    for folder in sorted(path for path in (root / ORIGINALS).glob("[!.]*") if path.is_dir()):
        parsed = parse_folder(folder.name)
        if folder.name in known:
            yield folder, known[folder.name]
        elif isinstance(parsed, NotASubset):
            yield folder, SubsetPlan(10, folder.name)
        else:
            yield folder, SubsetPlan(parsed.repeats, parsed.class_tokens or trigger or root.name)


def folder_for(root: Path, tokens: str, repeats: int) -> Path:
    """The subset folder with these class tokens, whatever its number; a new name where there is
    none.
    """
    named = (name for name, (_, known) in subset_folders(root).items() if known == tokens)
    return root / next(named, format_folder(repeats, tokens))


def subset_folders(root: Path) -> dict[str, tuple[int, str]]:
    """Subset folders with what their names say, in the order of all tables."""
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(path.name)
        if path.is_dir() and not isinstance(parsed, NotASubset):
            found[path.name] = (parsed.repeats, parsed.class_tokens)
    return found


def _refuse_inside(root: Path, source: Path) -> None:
    """What is made must never stand among what it is made of."""
    place, home = source.resolve(), root.resolve()
    if not place.is_relative_to(home):
        return
    inside = place.relative_to(home).parts
    hint = (
        f"lorakit dataset add {shown(root)} {shown(source)} copies them into originals/; prepare"
        " needs no --from then."
    )
    if not inside or not isinstance(parse_folder(inside[0]), NotASubset):
        hint = (
            "Pictures in a folder N_trigger are trained on as they are. To have others made of"
            " them, move them out of the dataset and add them from there: lorakit dataset add"
            f" {shown(root)} FOLDER"
        )
    raise RecipeError(f"--from {shown(source)}: is inside the dataset {shown(root)}.", hint=hint)


def _images(folder: Path, *, skip: Path) -> list[Path]:
    """`skip`: the dataset's own folder, in a folder of images that holds it."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (Path(place) / name).resolve() != skip
        )
        found += [Path(place) / name for name in sorted(names) if looks_like_image(name)]
    return found
