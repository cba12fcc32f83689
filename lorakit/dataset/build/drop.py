"""Pictures that are not to be trained on, and the way back. An original stays where it is; what
was in an N_trigger folder waits, with its caption, under `.lorakit/dropped`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from lorakit.dataset.build.jobs import subset_folders
from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.build.originals import ORIGINALS, name_of
from lorakit.dataset.build.remembered import read_remembered, remember
from lorakit.dataset.build.subsets import image_of
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import is_image_name, looks_like_image
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
    originals = sorted(path for path in (root / ORIGINALS).rglob("*") if path.is_file())
    keys = [name_of(root, path) for path in originals if looks_like_image(path.name)]
    for key in dict.fromkeys([*keys, *made]):
        yield Known(key, tuple(made.get(key, ())))
    for folder in subset_folders(root):
        for name in sorted(filter(is_image_name, os.listdir(root / folder))):
            if f"{folder}/{name}" not in entries:
                yield Known(f"{folder}/{name}", (f"{folder}/{name}",))


def _meant(root: Path, words: Sequence[str], known: Sequence[Known]) -> list[Known]:
    """By path, by name inside the dataset, or by a file name that only one picture has."""
    found, faults = [], []
    for word in words:
        names = {word, name_of(root, Path(word)), word.removeprefix("./")}
        exact = [one for one in known if names & {one.key, *one.places}]
        files = {os.path.basename(name) for one in known for name in (one.key, *one.places)}
        same = exact or [
            one for one in known if word in map(os.path.basename, (one.key, *one.places))
        ]
        if len(same) == 1:
            found += same
        elif same:
            what = f"can mean {' and '.join(shown(one.key) for one in same)}."
            faults.append(Fault(shown(word), what, "Write the folder, too."))
        else:
            near = did_you_mean(os.path.basename(word), files)
            faults.append(Fault(shown(word), "no such picture in the dataset.", near))
    if faults:
        raise RecipeError("Nothing was changed.", faults=faults)
    return found


def _park(root: Path, key: str, image: Path) -> None:
    """The picture, its caption and its caches."""
    folder = image.parent
    if not folder.is_dir():
        return
    names = os.listdir(folder)
    images: Collection[str] = {os.path.splitext(name)[0] for name in names if is_image_name(name)}
    own = [
        name
        for name in names
        if name == image.name
        or (not is_image_name(name) and image_of(name, {*images, image.stem}) == image.stem)
    ]
    base = root / FOLDER / "dropped" / key.lstrip("/")
    places = (base.with_name(f"{base.name}.{number}") for number in count(1))
    place = next(one for one in places if not one.exists())
    for name in own:
        place.mkdir(parents=True, exist_ok=True)
        os.rename(folder / name, place / name)


def _parked(root: Path, key: str) -> list[Path]:
    """What was put away last."""
    base = root / FOLDER / "dropped" / key.lstrip("/")
    numbered = (base.with_name(f"{base.name}.{number}") for number in count(1))
    last: list[Path] = []
    for place in numbered:
        if not place.exists():
            return last
        last = sorted(place.iterdir()) or last
    return last
