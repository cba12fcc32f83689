"""Where photos come from: files, folders, zip archives, albums of other programs. Reads only."""

import csv
import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lorakit import json_text
from lorakit.dataset.build.manifest import subset_folders
from lorakit.dataset.captions.read import CAPTION_SUFFIXES, caption_beside
from lorakit.dataset.facts import looks_like_image, parse_folder
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.journal import Journal
from lorakit.portable import leads_out
from lorakit.user_files import Unreadable, read_text

ARCHIVES = frozenset({".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"})
MOST_REPEATS = 999  # 2024_italy is a year
IMG, REG = "img", "reg"  # where kohya's GUI puts the folders, beside log/ and model/
LISTS = ("metadata.jsonl", "metadata.csv")  # of captions, as the hub's data sets have them
WORDS = ("text", "caption", "prompt")
MAX_ENTRY = 1 << 30  # bytes of one unpacked file
MAX_ARCHIVE = 64 << 30  # bytes of an archive, unpacked
MAX_RATIO = 200  # photos hardly shrink; a file that grows more than this is a bomb


@dataclass(frozen=True)
class AlbumPart:
    """What is added as one subset; without tokens, whichever the user names."""

    path: Path
    repeats: int | None = None
    tokens: str = ""

    def means(self, trigger: str) -> bool:
        """Whether its name speaks of this trigger (empty: of any)."""
        ours = self.tokens == trigger or self.tokens.startswith((f"{trigger}_", f"{trigger} "))
        return (self.repeats or 1) <= MOST_REPEATS and bool(self.tokens) and (ours or not trigger)


def _as_named(folder: Path) -> AlbumPart:
    parsed = parse_folder(folder.name)
    return AlbumPart(folder, parsed.repeats, parsed.class_tokens) if parsed else AlbumPart(folder)


def parts_of(path: Path, trigger: str) -> list[AlbumPart]:
    """The folders of an album that name this trigger (empty: any); else all of it."""
    whole = _as_named(path)
    if path.is_dir() and whole.means(trigger):
        return [whole]
    for home in (path, path / IMG):
        if found := [part for part in _named_in(home) if part.means(trigger)]:
            return found
    return [AlbumPart(path)]


def _named_in(home: Path) -> list[AlbumPart]:
    """Its N_trigger folders with pictures."""
    parts = (_as_named(home / name) for name in subset_folders(home))
    return [part for part in parts if holds_pictures(part.path)]


def holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(map(looks_like_image, os.listdir(folder)))


def lying_album(album: Path) -> tuple[AlbumPart, Path | None]:
    """The dataset that an album is where it lies, and its regularisation images; the part has
    repeats where its folder itself is the subset: none where nothing says how many.
    """
    for home in (album, album / IMG):
        if named := [part.tokens for part in _named_in(home) if part.means("")]:
            reg, tokens = album / REG, min(named, key=len)
            return AlbumPart(home, tokens=tokens), reg if home != album and _named_in(reg) else None
    if not holds_pictures(album):
        what = "holds no pictures itself." if album.is_dir() else "there is no such folder."
        hint = f"lorakit dataset add RECIPE {shown(album)} copies all that are below it."
        raise RecipeError(f"{shown(album)}: {what}", hint=hint * album.is_dir())
    whole = _as_named(album)
    return whole if whole.means("") else AlbumPart(album, 0), None


@dataclass(frozen=True)
class Candidate:
    """Wanted in the dataset; `label` is how its owner knows it, `path` where its bytes are."""

    label: str
    name: str
    path: Path
    caption: Path | None


def gather(
    paths: Iterable[Path], incoming: Path, *, skip: Path
) -> tuple[list[Candidate], list[Fault]]:
    """Every image that the paths name or hold; `skip`: the dataset's own originals."""
    found: list[Candidate] = []
    faults: list[Fault] = []
    for number, path in enumerate(paths):
        before = len(found) + len(faults)
        if path.is_dir():
            found += _folder(path, skip, incoming / str(number), faults)
        elif not path.is_file():
            faults.append(Fault(shown(path), "there is no such file or folder.", rule="no-file"))
        elif path.suffix.lower() in ARCHIVES or (
            zipfile.is_zipfile(path) and not looks_like_image(path.name)
        ):
            found += _archive(path, incoming / str(number), faults)
        else:
            found.append(_candidate(path))
        if len(found) + len(faults) == before:
            faults.append(Fault(shown(path), "holds no image.", rule="no-file"))
    return found, faults


def _folder(folder: Path, skip: Path, incoming: Path, faults: list[Fault]) -> Iterator[Candidate]:
    files = files_below(folder, skip=skip)
    listed = [_listed(place) for place in {path.parent: None for path in files}]
    words = {path: text for found in listed for path, text in found.items()}
    for path in files:
        if looks_like_image(path.name):
            yield _with_words(_candidate(path), words.get(path), incoming)
        elif path.suffix.lower() in ARCHIVES and not path.name.startswith("."):
            what = "an archive inside a folder is not opened."
            hint = "Name it to add what it holds."
            faults.append(Fault(shown(path), what, hint, "archive", "warning"))


def files_below(folder: Path, *, skip: Path | None = None, links: bool = False) -> list[Path]:
    """In every visible folder but `skip`, in a stable order; with `links` also where they lead."""
    found = []
    for name, folders, files in os.walk(folder, followlinks=links):
        place = Path(name)
        # a link that leads back up has no end
        out = {skip, *(above.resolve() for above in (place, *place.parents))}
        inner = (one for one in sorted(folders) if not one.startswith("."))
        folders[:] = [one for one in inner if (place / one).resolve() not in out]
        found += [place / file for file in sorted(files)]
    return found


def images_below(folder: Path, *, skip: Path | None = None) -> list[Path]:
    return [path for path in files_below(folder, skip=skip) if looks_like_image(path.name)]


def _candidate(path: Path) -> Candidate:
    return Candidate(shown(path), path.name, path, caption_beside(path))


def _with_words(candidate: Candidate, words: str | None, incoming: Path) -> Candidate:
    """With a caption out of a list, where there is none beside the picture."""
    if candidate.caption or not words:
        return candidate
    incoming.mkdir(parents=True, exist_ok=True)
    caption = incoming / f"{len(os.listdir(incoming))}.txt"
    caption.write_text(" ".join(words.split()) + "\n", encoding="utf-8")
    return replace(candidate, caption=caption)


def _listed(folder: Path) -> dict[Path, str]:
    """Captions out of a list; a line of it that is none is passed over."""
    found = {}
    for name in LISTS:
        with suppress(Unreadable, csv.Error):
            place = folder / name
            rows: Iterable[dict[str, Any]] = Journal(place).read()
            if name.endswith("csv"):
                rows = csv.DictReader(read_text(place, most=json_text.MOST).splitlines())
            for row in rows:
                file, words = row.get("file_name"), next((row[w] for w in WORDS if row.get(w)), "")
                if isinstance(file, str) and isinstance(words, str) and words.strip():
                    found[folder / file] = words
    return found


def _archive(path: Path, incoming: Path, faults: list[Fault]) -> list[Candidate]:
    if path.suffix.lower() in ARCHIVES - {".zip"}:
        what = "only zip archives are opened; unpack it yourself."
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                return _unpacked(path, archive, incoming, faults)
        except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
            what = f"cannot be read as a zip archive: {error}."
    faults.append(Fault(shown(path), what, rule="archive"))
    return []


def _unpacked(
    path: Path, archive: zipfile.ZipFile, incoming: Path, faults: list[Fault]
) -> list[Candidate]:
    """Each wanted entry under a name of our own: none in the archive leads anywhere."""
    named = [entry for entry in archive.infolist() if entry.filename]
    if len(named) < len(archive.infolist()):
        what = "holds an entry without a name, which is left out."
        faults.append(Fault(shown(path), what, "", "archive", "warning"))
    entries = [one for one in named if not one.is_dir() and "__MACOSX" not in one.filename]
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE:
        what = f"would unpack to more than {MAX_ARCHIVE >> 30} GB."
        faults.append(Fault(shown(path), what, rule="archive"))
        return []
    names = {entry.filename.replace("\\", "/"): entry for entry in entries}
    parted = {os.path.splitext(name): name for name in names}
    # the first of them wins
    captions = {
        stem: name
        for wanted in reversed(CAPTION_SUFFIXES)
        for (stem, suffix), name in parted.items()
        if suffix.lower() == wanted
    }

    def taken(name: str, to: Path) -> Path | None:
        problem = _problem(names[name]) or _extract(archive, names[name], to)
        if problem:
            faults.append(Fault(label(name), problem, rule="archive"))
        return None if problem else to

    def label(name: str) -> str:
        return f"{shown(path)}!{shown(names[name].filename)}"

    found = []
    for number, name in enumerate(sorted(names)):
        place = PurePosixPath(name)
        if not looks_like_image(place.name):
            continue
        image = taken(name, incoming / f"{number}{place.suffix.lower()}")
        if image is not None:
            caption = captions.get(os.path.splitext(name)[0])
            text = taken(caption, incoming / f"{number}.txt") if caption else None
            found.append(Candidate(label(name), place.name, image, text))
    return found


def _problem(entry: zipfile.ZipInfo) -> str:
    if leads_out(entry.filename):
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
    except Exception as error:  # noqa: BLE001  (every kind of compression raises errors of its own)
        to.unlink(missing_ok=True)
        return f"cannot be unpacked: {error}."
    return ""
