"""Where photos come from: files, folders, zip archives. Reads only; what lies in an archive is unpacked beside the dataset first."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorakit.dataset.rules import shown
from lorakit.dataset.scan import looks_like_image
from lorakit.dataset.sidecars import CAPTION_SUFFIXES
from lorakit.errors import Fault

MAX_ENTRY = 1 << 30              # bytes of one unpacked file
MAX_ARCHIVE = 64 << 30           # bytes of a whole archive, unpacked
MAX_RATIO = 200                  # photos hardly shrink; a file that grows more than this is a bomb


@dataclass(frozen=True)
class Candidate:
    """One file that someone wants in the dataset; `label` is how they know it, `path` where its bytes can be read."""

    label: str
    name: str
    path: Path
    caption: Path | None


def gather(paths: Iterable[Path], incoming: Path, *, skip: Path) -> tuple[list[Candidate], list[Fault]]:
    """Every image that the paths name or hold, in a stable order. `skip`: the dataset's own originals."""
    found: list[Candidate] = []
    faults: list[Fault] = []
    for number, path in enumerate(paths):
        if path.is_dir():
            found += _folder(path, skip)
        elif not path.is_file():
            faults.append(_refused(shown(path), "no-file", "there is no such file or folder."))
        elif zipfile.is_zipfile(path) and not looks_like_image(path.name):
            found += _archive(path, incoming / str(number), faults)
        else:
            found.append(Candidate(shown(path), path.name, path, _caption_of(path)))
    return found, faults


def _folder(folder: Path, skip: Path) -> Iterator[Candidate]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (Path(place) / name).resolve() != skip)
        for name in sorted(names):
            if looks_like_image(name):
                path = Path(place) / name
                yield Candidate(shown(path), name, path, _caption_of(path))


def _caption_of(image: Path) -> Path | None:
    return next((path for suffix in CAPTION_SUFFIXES if (path := image.with_suffix(suffix)).is_file()), None)


def _archive(path: Path, incoming: Path, faults: list[Fault]) -> list[Candidate]:
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpacked(path, archive, incoming, faults)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        faults.append(_refused(shown(path), "archive", f"cannot be read as a zip archive: {error}."))
        return []


def _unpacked(path: Path, archive: zipfile.ZipFile, incoming: Path, faults: list[Fault]) -> list[Candidate]:
    """Each wanted entry under a name of our own making, so that no name in the archive can lead anywhere."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and "__MACOSX" not in entry.filename]
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE:
        faults.append(_refused(shown(path), "archive", f"would unpack to more than {MAX_ARCHIVE >> 30} GB."))
        return []
    names = {PurePosixPath(entry.filename.replace("\\", "/")): entry for entry in entries}
    captions = {name: entry for name, entry in names.items() if name.suffix.lower() in CAPTION_SUFFIXES}
    found = []
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.filename)):
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if not looks_like_image(name.name):
            continue
        label = f"{shown(path)}!{shown(entry.filename)}"
        problem = _problem(entry, name)
        if not problem:
            image = incoming / f"{number}{name.suffix.lower()}"
            problem = _extract(archive, entry, image)
        if problem:
            faults.append(_refused(label, "archive", problem))
            continue
        texts = (captions[name.with_suffix(suffix)] for suffix in CAPTION_SUFFIXES if name.with_suffix(suffix) in captions)
        text = next(texts, None)
        caption = incoming / f"{number}.txt" if text is not None and not _extract(archive, text, incoming / f"{number}.txt") else None
        found.append(Candidate(label, name.name, image, caption))
    return found


def _problem(entry: zipfile.ZipInfo, name: PurePosixPath) -> str:
    if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
        return "its name leads out of the archive."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a symbolic link."
    if entry.flag_bits & 1:
        return "is encrypted; unpack the archive yourself."
    if entry.file_size > MAX_ENTRY or entry.file_size > MAX_RATIO * max(entry.compress_size, 4096):
        return f"would unpack from {entry.compress_size:,} to {entry.file_size:,} bytes."
    return ""


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> str:
    """What went wrong, or nothing. Never writes more than the archive has declared."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(entry) as source, to.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        to.unlink(missing_ok=True)
        return f"cannot be unpacked: {error}."
    return ""


def _refused(label: str, rule: str, what: str) -> Fault:
    return Fault(label, what, rule=rule)
