"""Look at a dataset as kohya will: names, headers, captions, caches. Decodes nothing, changes
nothing, and speaks about everything that kohya would drop silently, misread or choke on.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.dataset.caches import cache_faults
from lorakit.dataset.captions.read import caption_leftovers, find_caption
from lorakit.dataset.facts import IMAGE_SUFFIXES, DatasetFacts, ImageFacts, SubsetFacts
from lorakit.dataset.folder_names import NotASubset, parse_folder
from lorakit.dataset.rules import fault, shown, without
from lorakit.errors import Fault
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import CutError, Header, read_header

FOREIGN = frozenset(
    {
        ".heic",
        ".heif",
        ".jxl",
        ".svg",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".raf",
        ".orf",
        ".rw2",
    }
)  # not ours either
OTHER_IMAGES = FOREIGN | {
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".jfif",
    ".jpe",
    ".jp2",
    ".psd",
    ".ico",
    ".tga",
    ".apng",
    ".pcx",
    ".ppm",
}
OURS = frozenset(
    {"originals"}
)  # lorakit's own folder beside the subsets; kohya ignores it, and so it should
USED = frozenset(IMAGE_SUFFIXES) | {suffix.upper() for suffix in IMAGE_SUFFIXES}

Entries = dict[str, "os.DirEntry[str]"]


@dataclass
class _Notes:
    """What one scan has found so far."""

    suffix: str
    faults: list[Fault] = field(default_factory=list)

    def add(self, rule: str, where: Path | str, what: str, hint: str = "") -> None:
        self.faults.append(fault(rule, where, what, hint))


def scan(
    root: Path,
    *,
    reg: Path | None = None,
    caption_extension: str = ".txt",
    off: Collection[str] = (),
) -> DatasetFacts:
    """Never raises for what is in the folder; the faults say it. `off` names rules that are not to
    be told.
    """
    notes = _Notes(
        caption_extension if caption_extension.startswith(".") else f".{caption_extension}"
    )
    subsets = _subsets(Path(root), notes, is_reg=False)
    if reg is not None:
        subsets += _subsets(Path(reg), notes, is_reg=True)
    return DatasetFacts(Path(root), tuple(subsets), without(notes.faults, off))


def is_image_name(name: str) -> bool:
    """Whether kohya's glob takes it: the five extensions, all lower or all upper."""
    return os.path.splitext(name)[1] in USED and not name.startswith(".")


def looks_like_image(name: str) -> bool:
    """Whether a person would call it an image, whatever kohya thinks."""
    extension = os.path.splitext(name)[1].lower()
    return (extension in IMAGE_SUFFIXES or extension in OTHER_IMAGES) and not name.startswith(".")


def _list(folder: Path, notes: _Notes) -> Entries | None:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError as error:
        notes.add(
            "no-folder" if isinstance(error, FileNotFoundError) else "unreadable",
            folder,
            f"{error.strerror}.",
        )
        return None


def _subsets(root: Path, notes: _Notes, *, is_reg: bool) -> list[SubsetFacts]:
    if not root.is_dir():
        what = "is not a folder." if os.path.lexists(root) else "there is no such folder."
        notes.add("no-folder", root, what, "" if os.path.lexists(root) else _nearest_folder(root))
        return []
    entries = _list(root, notes)
    if entries is None:
        return []
    subsets: list[SubsetFacts] = []
    named = 0
    for name in sorted(entries):
        if name.startswith(".") or name in OURS or not _is_dir(entries[name]):
            continue
        parsed = parse_folder(name)
        if isinstance(parsed, NotASubset):
            _skipped(root / name, parsed, notes)
            continue
        named += 1
        if parsed.oddity:
            notes.add(
                "folder-odd",
                root / name,
                f"{parsed.oddity}.",
                "Rename it, or leave it so if that is meant.",
            )
        images = _images(root / name, parsed.class_tokens, notes, is_reg=is_reg)
        if images:
            subsets.append(
                SubsetFacts(root / name, parsed.repeats, parsed.class_tokens, images, is_reg)
            )
        else:
            notes.add(
                "reg-empty" if is_reg else "folder-empty",
                root / name,
                "no image that kohya would use.",
            )
    _root_files(root, entries, named, notes)
    if not subsets and not is_reg:
        _nothing(root, entries, named, notes)
    return subsets


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symlink that turns in circles
        return False


def _skipped(folder: Path, parsed: NotASubset, notes: _Notes) -> None:
    """A folder that kohya passes over: a fault only if there are images in it."""
    count = _count_images(folder)
    if not count:
        return
    images = f"{count} image{'s' * (count > 1)}"
    if not parsed.silent:
        digits = "".join(c for c in folder.name if c.isdigit())[:4]
        right = f"{int(digits or 0) or 10}_{folder.name.strip('0123456789.-_ xX') or 'trigger'}"
        notes.add(
            "folder-name",
            folder,
            f"{parsed.reason}; its {images} would be left out.",
            f"Rename it like {right}.",
        )
    elif "-" in folder.name.partition("_")[0]:
        notes.add(
            "folder-negative",
            folder,
            f"{parsed.reason}; its {images} would be left out without a word.",
            "Give a number from 1 on.",
        )
    else:
        notes.add("folder-zero", folder, f"{parsed.reason}; {images} left out.")


def _count_images(folder: Path) -> int:
    try:
        return sum(looks_like_image(name) for name in os.listdir(folder))
    except OSError:
        return 0


def _root_files(root: Path, entries: Entries, named: int, notes: _Notes) -> None:
    loose = sorted(
        name for name, entry in entries.items() if looks_like_image(name) and not _is_dir(entry)
    )
    if loose and named:
        some = ", ".join(map(shown, loose[:3]))
        notes.add(
            "image-outside",
            root,
            f"{len(loose)} image(s) beside the subset folders are not trained on: {some}.",
            "Move them into a folder such as 10_trigger.",
        )


def _nothing(root: Path, entries: Entries, named: int, notes: _Notes) -> None:
    """Nothing to train: find out which folder was meant."""
    loose = sum(looks_like_image(name) for name in entries)
    if loose and not named:
        if isinstance(parse_folder(root.name), NotASubset):
            notes.add(
                "image-folder-given",
                root,
                f"holds {loose} images itself, but no folder named like 10_trigger.",
                f"Put them into {root / '10_trigger'}, or run: lorakit dataset prepare {root}",
            )
        else:
            notes.add(
                "image-folder-given",
                root,
                "is the folder with the images; the dataset is its parent.",
                f"Write {shown(root.parent)}",
            )
        return
    for name in sorted(entries):
        if (
            _is_dir(entries[name])
            and not name.startswith(".")
            and name not in OURS
            and _holds_subsets(root / name)
        ):
            notes.add(
                "image-folder-given",
                root,
                "the subsets lie one level deeper.",
                f"Write {shown(root / name)}",
            )
            return
    originals = root / "originals"
    add = "Add images: lorakit dataset add RECIPE PATHS --repeats 10"
    hint = "Make them of originals/: lorakit dataset prepare RECIPE" if originals.is_dir() else add
    notes.add("nothing-to-train", root, "no subset with images in it.", hint)


def _holds_subsets(folder: Path) -> bool:
    try:
        names = [entry.name for entry in os.scandir(folder) if _is_dir(entry)]
    except OSError:
        return False
    return any(
        not isinstance(parse_folder(name), NotASubset) and _count_images(folder / name)
        for name in names
    )


def _nearest_folder(root: Path) -> str:
    from lorakit.errors import did_you_mean

    parent = root.parent
    return (
        did_you_mean(root.name, [entry.name for entry in os.scandir(parent) if _is_dir(entry)])
        if parent.is_dir()
        else ""
    )


def _images(
    folder: Path, class_tokens: str, notes: _Notes, *, is_reg: bool
) -> tuple[ImageFacts, ...]:
    entries = _list(folder, notes)
    if entries is None:
        return ()
    used = [name for name in sorted(entries) if is_image_name(name)]
    _unused(folder, entries, notes)
    images: list[ImageFacts] = []
    sizes: list[tuple[str, int, tuple[int, int]]] = []
    uncaptioned: list[Path] = []
    caption_times: dict[str, int] = {}
    for name in used:
        opened = _open(folder / name, entries[name], notes)
        if opened is None:
            continue
        header, status = opened
        stem = os.path.splitext(name)[0]
        caption = find_caption(folder, stem, notes.suffix, entries)
        notes.faults += caption.faults
        if caption.path is None:
            uncaptioned.append(folder / name)
        else:
            caption_times[stem] = caption.path.stat().st_mtime_ns
        text = class_tokens if caption.text is None else caption.text
        width, height = header.as_kohya_reads
        sizes.append((name, status.st_mtime_ns, (width, height)))
        images.append(
            ImageFacts(
                folder / name, width, height, caption.path, status.st_size, status.st_mtime_ns, text
            )
        )
    stems = _stems(used)
    _shared(folder, stems, notes)
    _missing(folder, uncaptioned, len(images), class_tokens, notes, is_reg=is_reg)
    notes.faults += caption_leftovers(folder, notes.suffix, stems, entries)
    notes.faults += cache_faults(folder, sizes, entries, caption_times)
    return tuple(images)


def _unused(folder: Path, entries: Entries, notes: _Notes) -> None:
    """Everything in a subset that looks like an image and is not one of kohya's."""
    for name in sorted(entries):
        stem, extension = os.path.splitext(name)
        lower = extension.lower()
        if _is_dir(entries[name]):
            count = _count_images(folder / name)
            if count and not is_image_name(name):
                notes.add(
                    "nested",
                    folder / name,
                    f"{count} image(s) in a folder inside a subset are not trained on.",
                    f"Move them up into {shown(folder)}.",
                )
        elif name.startswith("."):
            if lower in IMAGE_SUFFIXES and not name.startswith("._"):
                notes.add(
                    "dot-file",
                    folder / name,
                    "is left out without a word because its name begins with a dot.",
                    "Rename it.",
                )
        elif extension not in USED and lower in IMAGE_SUFFIXES:
            what = (
                f"{extension} is neither all lower nor all upper case; the image would be left out"
                " without a word."
            )
            notes.add("extension-case", folder / name, what, f"Rename it to {shown(stem + lower)}.")
        elif lower in OTHER_IMAGES:
            notes.add(
                "extension-unsupported",
                folder / name,
                f"{extension} is not read; the image would be left out without a word.",
                (
                    "Export it as JPEG."
                    if lower in FOREIGN
                    else "Convert it: lorakit dataset add takes it and prepare converts it."
                ),
            )


def _open(
    path: Path, entry: os.DirEntry[str], notes: _Notes
) -> tuple[Header, os.stat_result] | None:
    try:
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            notes.add(
                "not-a-file",
                path,
                "has an image's name but is not a file.",
                "Move it out of the subset.",
            )
            return None
        header = read_header(path)
    except CutError as error:
        notes.add("undecodable", path, f"cannot be decoded: {error}.", "Replace or remove it.")
    except RefusedError as error:
        notes.add("header", path, f"its size cannot be read: {error}.", "Replace or remove it.")
    except OSError as error:
        if path.is_symlink() and not os.path.exists(path):
            notes.add(
                "broken-link",
                path,
                f"points to {shown(os.readlink(path))}, which cannot be reached.",
                "Mend or remove the link.",
            )
        else:
            notes.add(
                "unreadable", path, f"cannot be opened: {error.strerror}.", "Check its permissions."
            )
    else:
        if header.extended:
            width, height = header.as_kohya_reads
            notes.add(
                "webp-size",
                path,
                f"is {header.width}x{header.height}, but kohya reads {width}x{height}.",
                "Convert it: lorakit dataset prepare.",
            )
        return header, status
    return None


def _stems(names: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[os.path.splitext(name)[0]].append(name)
    return stems


def _shared(folder: Path, stems: dict[str, list[str]], notes: _Notes) -> None:
    for stem, names in stems.items():
        if len(names) > 1:
            both = " and ".join(map(shown, names))
            notes.add(
                "caption-shared",
                folder / names[0],
                f"{both} share one caption ({shown(stem)}{notes.suffix}) and one cache.",
                "Rename all but one, with a caption each.",
            )


def _missing(
    folder: Path, missing: list[Path], count: int, class_tokens: str, notes: _Notes, *, is_reg: bool
) -> None:
    instead = f'"{class_tokens}"' if class_tokens else "an empty caption"
    if not missing or is_reg:  # reg images are described by their class alone, as a rule
        return
    if len(missing) == count:
        notes.add(
            "caption-none",
            folder,
            f"no image has a {notes.suffix} caption; all {count} would be trained as {instead}.",
            "Write captions: lorakit dataset caption.",
        )
        return
    for path in missing:
        notes.add(
            "caption-missing",
            path,
            f"has no {notes.suffix} caption; it would be trained as {instead}.",
            "Write one: lorakit dataset review RECIPE",
        )
