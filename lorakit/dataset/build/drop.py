"""Pictures that are not to be trained on, which wait under `.lorakit/dropped`, and the way back."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

from lorakit.dataset.build.manifest import FOLDER, Manifest, subset_folders
from lorakit.dataset.build.originals import ORIGINALS, name_of
from lorakit.dataset.build.remembered import read_remembered, remember
from lorakit.dataset.build.sources import images_below
from lorakit.dataset.build.subsets import image_of
from lorakit.dataset.facts import is_image_name
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.files import take_name


def drop(root: Path, words: Sequence[str]) -> list[str]:
    """Out of training, for every command; returns the names that are remembered."""
    known = _pictures(root)
    keys = _meant(root, words, known)
    kept = read_remembered(root)
    remember(root, replace(kept, dropped=tuple({*kept.dropped, *keys})))
    for key in keys:
        for place in known[key]:
            _park(root, key, root / place)
    return keys


def take_back(root: Path, words: Sequence[str]) -> list[str]:
    kept, there = read_remembered(root), _pictures(root)
    known = {key: there.get(key) or [key] for key in kept.dropped}
    keys = _meant(root, words, known)
    moves = [
        (path, root / os.path.dirname(known[key][0]) / path.name)
        for key in keys
        for path in _parked(root, key)
    ]
    taken = [Fault(shown(to), "is there already.") for _, to in moves if os.path.lexists(to)]
    if taken:
        raise RecipeError("Nothing was brought back.", faults=taken, hint="Move it away first.")
    for path, to in moves:
        to.parent.mkdir(parents=True, exist_ok=True)
        take_name(path, to)
    remember(root, replace(kept, dropped=tuple(key for key in kept.dropped if key not in keys)))
    return keys


def _pictures(root: Path) -> dict[str, list[str]]:
    """Each by the name that `prepare.toml` has for it, the original's, else its own: its places in
    N_trigger folders, whether there is something now or not.
    """
    entries = Manifest(root).entries
    known = {name_of(root, path): list[str]() for path in images_below(root / ORIGINALS)}
    for name, entry in entries.items():
        known.setdefault(entry.source, []).append(name)
    for folder in (root, *(root / name for name in subset_folders(root))):
        names = (name_of(root, folder / name) for name in sorted(os.listdir(folder)))
        known |= {one: [one] for one in names if is_image_name(one) and one not in entries}
    return known


def _meant(root: Path, words: Sequence[str], known: Mapping[str, Sequence[str]]) -> list[str]:
    """By path, by name inside the dataset, or by a file name that only one picture has."""
    names = {key: {key, *places} for key, places in known.items()}
    files = {key: {*map(os.path.basename, own)} for key, own in names.items()}
    found, faults = [], []
    for word in words:
        said = {word, name_of(root, Path(word)), word.removeprefix("./")}
        same = [one for one in known if said & names[one]]
        same = same or [one for one in known if word in files[one]]
        if len(same) == 1:
            found += same
        elif same:
            what = f"can mean {' and '.join(map(shown, same))}."
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
