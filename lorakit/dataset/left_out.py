"""What a scan notes, and what kohya would leave out silently: folders, files, names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.dataset.facts import (
    FILMS,
    FOREIGN,
    IMAGE_SUFFIXES,
    OTHER_IMAGES,
    USED,
    Stated,
    is_film_name,
    is_image_name,
    looks_like_image,
    parse_folder,
    repeats_said,
)
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault, counted, did_you_mean

TAKEN_AS = USED | FILMS
TAKEN = frozenset(extension.lower() for extension in TAKEN_AS)
OURS = "originals"  # lorakit's own folder beside the subsets; kohya ignores it, and so it should

Entries = dict[str, "os.DirEntry[str]"]


@dataclass
class Notes:
    """What one scan has found so far."""

    suffix: str
    films: bool
    stated: Mapping[str, Stated] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    described: dict[str, Path] = field(default_factory=dict)  # by what metadata calls an image

    def takes(self, name: str) -> bool:
        return is_image_name(name) or (self.films and is_film_name(name))

    def add(self, rule: str, where: Path | str, what: str, hint: str = "") -> None:
        self.faults.append(fault(rule, where, what, hint))


def list_entries(folder: Path, notes: Notes) -> Entries | None:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError as error:
        rule = "no-folder" if isinstance(error, FileNotFoundError) else "unreadable"
        notes.add(rule, folder, f"{error.strerror}.")
        return None


def folders_of(entries: Entries) -> list[str]:
    """Without lorakit's own."""
    names = (name for name in sorted(entries) if not name.startswith(".") and name != OURS)
    return [name for name in names if is_dir(entries[name])]


def is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symlink that turns in circles
        return False


def skipped(folder: Path, notes: Notes) -> None:
    """A folder that kohya passes over: a fault only if there are images in it."""
    count = _count_images(folder)
    if not count:
        return
    images, repeats = counted(count, "image"), repeats_said(folder.name)
    why = f"the name says {repeats} repeats"
    if repeats is None:
        why = "the name does not begin with a number of repeats and an underscore"
        digits = "".join(c for c in folder.name if c.isdigit())[:4]
        right = f"{int(digits or 0) or 10}_{folder.name.strip('0123456789.-_ xX') or 'trigger'}"
        what = f"{why}; its {images} would be left out."
        own = f'[dataset.subset."{folder.name}"] num_repeats = {int(digits or 0) or 10}'
        notes.add("folder-name", folder, what, f"Rename it like {right}, or say {own}.")
    elif "-" in folder.name.partition("_")[0]:
        what = f"{why}; its {images} would be silently left out."
        notes.add("folder-negative", folder, what, "Give a number from 1 on.")
    else:
        notes.add("folder-zero", folder, f"{why}; {images} left out.")


def _count_images(folder: Path) -> int:
    try:
        return sum(looks_like_image(name) for name in os.listdir(folder))
    except OSError:
        return 0


def nothing_there(root: Path, entries: Entries, loose: int, notes: Notes) -> None:
    """Nothing to train: find out which folder was meant."""
    rule, what, hint = "image-folder-given", "the subsets are one level deeper.", ""
    deeper = next((name for name in folders_of(entries) if _holds_subsets(root / name)), None)
    if loose and not parse_folder(root.name):
        what = f"holds {counted(loose, 'image')} itself, but no folder named like 10_trigger."
        new = "lorakit new NAME --preset P --trigger T --album"
        hint = f"Put them into {root / '10_trigger'}, or take them over as they lie: {new} {root}"
    elif loose:
        what = "is the folder with the images; the dataset is its parent."
        hint = f"Write {shown(root.parent)}"
    elif deeper:
        hint = f"Write {shown(root / deeper)}"
    else:
        rule, what = "nothing-to-train", "no subset with images in it."
        hint = "Add images: lorakit dataset add RECIPE PATHS --repeats 10"
        if (root / OURS).is_dir():
            hint = "Make them of originals/: lorakit dataset prepare RECIPE"
    notes.add(rule, root, what, hint)


def _holds_subsets(folder: Path) -> bool:
    try:
        names = [entry.name for entry in os.scandir(folder) if is_dir(entry)]
    except OSError:
        return False
    return any(_count_images(folder / name) for name in names if parse_folder(name))


def nearest_folder(root: Path) -> str:
    beside = os.scandir(root.parent) if root.parent.is_dir() else ()
    return did_you_mean(root.name, [entry.name for entry in beside if is_dir(entry)])


def unused(folder: Path, entries: Entries, notes: Notes) -> None:
    """Everything in a subset that looks like an image and is not one of kohya's."""
    for name in sorted(entries):
        path, (stem, extension) = folder / name, os.path.splitext(name)
        lower = extension.lower()
        if is_dir(entries[name]):
            ours = name == OURS or name.startswith(".")
            count = 0 if ours else _count_images(path)
            if count and not is_image_name(name):
                what = f"holds {counted(count, 'image')}; kohya does not look inside."
                notes.add("nested", path, what, f"Move them up into {shown(folder)}.")
        elif name.startswith("."):
            if lower in IMAGE_SUFFIXES and not name.startswith("._"):
                what = "is silently left out because its name begins with a dot."
                notes.add("dot-file", path, what, "Rename it.")
        elif lower in TAKEN and extension not in TAKEN_AS:
            what = f"{extension} is neither all lower nor all upper case; silently left out."
            notes.add("extension-case", path, what, f"Rename it to {shown(stem + lower)}.")
        elif extension in FILMS and not notes.films:
            what = "is a film, and this model is trained on pictures; it would be left out."
            notes.add("film", path, what, "Take it out, or put frames of it there as pictures.")
        elif lower in OTHER_IMAGES:
            hint = "Convert it: lorakit dataset add takes it and prepare converts it."
            hint = "Export it as JPEG." if lower in FOREIGN else hint
            what = f"{extension} is not read; the image would be silently left out."
            notes.add("extension-unsupported", path, what, hint)
