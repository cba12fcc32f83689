"""Pictures that are not to be trained on, which wait under `.lorakit/dropped`, and the way back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path

from lorakit.dataset.build.arrangement import subset_folders
from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.build.originals import ORIGINALS, name_of
from lorakit.dataset.build.remembered import read_remembered, remember
from lorakit.dataset.build.sources import images_below
from lorakit.dataset.build.subsets import image_of
from lorakit.dataset.facts import is_image_name
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.files import take_name


@dataclass(frozen=True)
class Known:
    """One picture by the name that `prepare.toml` has for it: the original's, else its own."""

    key: str
    places: tuple[str, ...]  # in N_trigger folders, whether there is something now or not


def drop(root: Path, words: Sequence[str]) -> list[str]:
    """Out of training, for every command; returns the names that are remembered."""
    found = _meant(root, words, [*_pictures(root)])
    kept = read_remembered(root)
    keys = [one.key for one in found]
    remember(root, replace(kept, dropped=tuple({*kept.dropped, *keys})))
    for one in found:
        for place in one.places:
            _park(root, one.key, root / place)
    return keys


def take_back(root: Path, words: Sequence[str]) -> list[str]:
    kept = read_remembered(root)
    there = {one.key: one for one in _pictures(root)}
    known = [there.get(key, Known(key, (key,))) for key in kept.dropped]
    found = _meant(root, words, known)
    moves = [
        (path, root / os.path.dirname((one.places or (one.key,))[0]) / path.name)
        for one in found
        for path in _parked(root, one.key)
    ]
    taken = [Fault(shown(to), "is there already.") for _, to in moves if os.path.lexists(to)]
    if taken:
        raise RecipeError("Nothing was brought back.", faults=taken, hint="Move it away first.")
    for path, to in moves:
        to.parent.mkdir(parents=True, exist_ok=True)
        take_name(path, to)
    keys = [one.key for one in found]
    remember(root, replace(kept, dropped=tuple(key for key in kept.dropped if key not in keys)))
    return keys


def _pictures(root: Path) -> Iterator[Known]:
    made: dict[str, list[str]] = {}
    entries = Manifest(root).entries
    for name, entry in entries.items():
        made.setdefault(entry.source, []).append(name)
    originals = [name_of(root, path) for path in images_below(root / ORIGINALS)]
    for key in dict.fromkeys([*originals, *made]):
        yield Known(key, tuple(made.get(key, ())))
    for folder in subset_folders(root):
        for name in sorted(filter(is_image_name, os.listdir(root / folder))):
            if f"{folder}/{name}" not in entries:
                yield Known(f"{folder}/{name}", (f"{folder}/{name}",))


def _meant(root: Path, words: Sequence[str], known: Sequence[Known]) -> list[Known]:
    """By path, by name inside the dataset, or by a file name that only one picture has."""
    names = {one: {one.key, *one.places} for one in known}
    files = {one: {*map(os.path.basename, own)} for one, own in names.items()}
    found, faults = [], []
    for word in words:
        said = {word, name_of(root, Path(word)), word.removeprefix("./")}
        same = [one for one in known if said & names[one]]
        same = same or [one for one in known if word in files[one]]
        if len(same) == 1:
            found += same
        elif same:
            what = f"can mean {' and '.join(shown(one.key) for one in same)}."
            faults.append(Fault(shown(word), what, "Write the folder, too."))
        else:
            near = did_you_mean(os.path.basename(word), set().union(*files.values()))
            faults.append(Fault(shown(word), "no such picture in the dataset.", near))
    if faults:
        raise RecipeError("Nothing was changed.", faults=faults)
    return found


def _parking(root: Path, key: str) -> Iterator[Path]:
    """Folders for a picture, one each time that it is dropped."""
    base = root / FOLDER / "dropped" / key.lstrip("/")
    return (base.with_name(f"{base.name}.{number}") for number in count(1))


def _park(root: Path, key: str, image: Path) -> None:
    """The picture, its caption and its caches."""
    folder = image.parent
    names = os.listdir(folder) if folder.is_dir() else []
    images = {os.path.splitext(name)[0] for name in names if is_image_name(name)} | {image.stem}
    place = next(one for one in _parking(root, key) if not one.exists())
    for name in names:
        beside = not is_image_name(name) and image_of(name, images) == image.stem
        if name == image.name or beside:
            place.mkdir(parents=True, exist_ok=True)
            os.rename(folder / name, place / name)


def _parked(root: Path, key: str) -> list[Path]:
    """What was put away last."""
    used = [*takewhile(Path.exists, _parking(root, key))]
    return next((found for place in reversed(used) if (found := sorted(place.iterdir()))), [])
