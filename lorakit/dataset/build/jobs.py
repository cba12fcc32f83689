"""What is to be prepared: every original, the subset it belongs to, and the place of its prepared
file. Reads names only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.build.originals import ORIGINALS, Subset, clean_name, read_subsets
from lorakit.dataset.build.fit import SUFFIXES, Settings
from lorakit.dataset.folder_names import NotASubset, format_folder, parse_folder
from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.scan import looks_like_image
from lorakit.errors import RecipeError


@dataclass(frozen=True)
class Job:
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
) -> list[Job]:
    """Every original and the place of its prepared file. `source`: a folder of images to use where
    there are no originals.
    """
    known = read_subsets(root)
    manifest = Manifest(root)
    taken: dict[Path, set[str]] = {}
    jobs: list[Job] = []
    assigned = read_assigned(root)
    own = {entry.source: Path(entry.file).stem for entry in manifest.entries.values()}
    images = [
        (path, _assigned(subset, assigned.get(name_of(root, path)), known))
        for folder, subset in _sources(root, known, trigger, source)
        for path in _images(folder)
    ]
    # those with a place keep it
    for path, subset in sorted(images, key=lambda pair: name_of(root, pair[0]) not in own):
        target = folder_for(root, subset.tokens, repeats or subset.repeats)
        stems = taken.setdefault(target, set())
        stem = own.get(name_of(root, path), "")
        if not stem or stem.casefold() in stems:
            stem = _free(os.path.splitext(clean_name(path.name))[0] or "image", stems)
        stems.add(stem.casefold())
        jobs.append(
            Job(
                root,
                path,
                target / f"{stem}{SUFFIXES[settings.format]}",
                settings,
                subset.tag,
                subset.trigger,
            )
        )
    if not jobs:
        raise RecipeError(
            f"{root}: there are no originals to prepare.",
            hint="Add some: lorakit dataset add TARGET PATHS --repeats 10; or name a folder of images: --from DIR",
        )
    return jobs


def assigned_path(root: Path) -> Path:
    return root / FOLDER / "assigned.json"


def read_assigned(root: Path) -> dict[str, str]:
    """Originals that `dataset layout` has put into another subset than their folder's: original to
    class tokens.
    """
    try:
        data = json.loads(assigned_path(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {str(name): str(tokens) for name, tokens in data.items()} if isinstance(data, dict) else {}
    )


def _assigned(subset: Subset, tokens: str | None, known: Mapping[str, Subset]) -> Subset:
    return subset if tokens is None else known.get(tokens, Subset(subset.repeats, tokens))


def _sources(
    root: Path, known: Mapping[str, Subset], trigger: str, source: Path | None
) -> Iterator[tuple[Path, Subset]]:
    if source is not None:
        if not source.is_dir():
            raise RecipeError(f"{source}: there is no such folder.")
        yield source, Subset(10, trigger or root.name)
        return
    originals = root / ORIGINALS
    folders = (
        sorted(
            path for path in originals.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
        if originals.is_dir()
        else []
    )
    for folder in folders:
        parsed = parse_folder(folder.name)
        if folder.name in known:
            yield folder, known[folder.name]
        elif isinstance(parsed, NotASubset):
            yield folder, Subset(10, folder.name)
        else:
            yield folder, Subset(parsed.repeats, parsed.class_tokens or trigger or root.name)


def folder_for(root: Path, tokens: str, repeats: int) -> Path:
    """The subset folder with these class tokens, whatever its number; a new name where there is
    none.
    """
    if root.is_dir():
        for path in sorted(root.iterdir()):
            parsed = parse_folder(path.name)
            if (
                path.is_dir()
                and not isinstance(parsed, NotASubset)
                and parsed.class_tokens == tokens
            ):
                return path
    return root / format_folder(repeats, tokens)


def _images(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place) / name for name in sorted(names) if looks_like_image(name)]
    return found


def _free(stem: str, taken: set[str]) -> str:
    free, number = stem, 1
    while free.casefold() in taken:
        number += 1
        free = f"{stem}-{number}"
    return free


def name_of(root: Path, path: Path) -> str:
    """Relative to the dataset where it lies inside, else absolute."""
    path = Path(os.path.abspath(path))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
