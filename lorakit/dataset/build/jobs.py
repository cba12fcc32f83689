"""What is to be prepared: each original, its subset and its place. Reads names only."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit.dataset.build.fit import SUFFIXES, Settings
from lorakit.dataset.build.manifest import Manifest, SubsetPlan, folder_for, read_arrangement
from lorakit.dataset.build.originals import ORIGINALS, clean_name, free_stem, name_of
from lorakit.dataset.build.remembered import read_remembered
from lorakit.dataset.build.sources import images_below
from lorakit.dataset.facts import parse_folder
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError
from lorakit.portable import folded


@dataclass(frozen=True)
class FitJob:
    """One picture to be made; travels to a worker."""

    root: Path
    source: Path
    target: Path
    settings: Settings
    subset: SubsetPlan

    @property
    def name(self) -> str:
        return name_of(self.root, self.target)

    @property
    def original(self) -> str:
        return name_of(self.root, self.source)


def jobs_of(
    root: Path,
    settings: Settings,
    *,
    repeats: int | None = None,
    trigger: str = "",
    source: Path | None = None,
) -> list[FitJob]:
    """`source`: a folder of images to use where there are no originals."""
    now, kept = read_arrangement(root), read_remembered(root)
    own = {entry.source: Path(entry.file).stem for entry in Manifest(root).entries.values()}
    images = [
        (path, name, subset)
        for folder, subset in _sources(root, now.subsets, trigger, source)
        for path in images_below(folder, skip=root.resolve())
        if (name := name_of(root, path)) not in kept.dropped
    ]
    taken: dict[Path, set[str]] = {}
    jobs: list[FitJob] = []
    # those with a place keep it
    for path, name, subset in sorted(images, key=lambda image: image[1] not in own):
        tokens = now.assigned.get(name)
        if tokens is not None:
            subset = now.subsets.get(tokens, SubsetPlan(subset.repeats, tokens))  # noqa: PLW2901
        target = folder_for(root, subset.tokens, repeats or subset.repeats)
        stems = taken.setdefault(target, set())
        stem = own.get(name, "")
        if not stem or folded(stem) in stems:
            stem = free_stem(os.path.splitext(clean_name(path.name))[0], stems)
        stems.add(folded(stem))
        place = target / f"{stem}{SUFFIXES[settings.format]}"
        fitted = replace(settings, crop=kept.crops.get(name))
        jobs.append(FitJob(root, path, place, fitted, subset))
    if not jobs:
        hint = "Add some: lorakit dataset add TARGET PATHS; or name a folder outside the dataset:"
        raise RecipeError(f"{root}: there are no originals to prepare.", hint=f"{hint} --from DIR")
    return jobs


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
        elif parsed:
            yield folder, SubsetPlan(parsed.repeats, parsed.class_tokens or trigger or root.name)
        else:
            yield folder, SubsetPlan(10, folder.name)


def _refuse_inside(root: Path, source: Path) -> None:
    """What is made must never stand among what it is made of."""
    place, home = source.resolve(), root.resolve()
    if not place.is_relative_to(home):
        return
    inside = place.relative_to(home).parts
    add = f"lorakit dataset add {shown(root)}"
    hint = f"{add} {shown(source)} copies them into originals/; prepare needs no --from then."
    if not inside or parse_folder(inside[0]):
        hint = (
            "Pictures in a folder N_trigger are trained on as they are. To have others made of"
            " them, move them out of the dataset and add them from there:"
            f" {add} FOLDER"
        )
    raise RecipeError(f"--from {shown(source)}: is inside the dataset {shown(root)}.", hint=hint)
