"""What `.lorakit` remembers of a dataset: its subsets, which are the N_trigger folders, and the
manifest of `dataset prepare`: which prepared file came from which original, with which settings.

A line of the journal is written before its file is moved into place; so whatever is in place after
a kill is known to be ours.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.dataset.facts import format_folder, parse_folder
from lorakit.files import sha256, write_atomic
from lorakit.journal import Journal
from lorakit.memo import stamp_of

FOLDER = ".lorakit"
VERSION = 1
TUPLES = ("source_stamp", "stamp", "size", "box", "scaled", "canvas")


@dataclass(frozen=True)
class MadeFile:
    """Paths are relative to the dataset (a source elsewhere is absolute), with forward slashes."""

    file: str
    source: str
    source_sha: str
    source_stamp: tuple[int, ...]  # size, mtime, inode: equal means unread
    settings: dict[str, Any]
    sha: str  # of the prepared file as lorakit wrote it
    stamp: tuple[int, ...]
    size: tuple[int, int]  # of the upright original
    box: tuple[float, ...]
    scaled: tuple[int, int]
    canvas: tuple[int, int]
    caption_sha: str = ""  # of the caption as lorakit wrote it; empty: it wrote none
    # sha of the file it takes the place of: what is there after a kill just before the move
    replaces: str = ""


class Manifest:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / FOLDER / "preparing.jsonl")
        self.place = root / FOLDER / "prepared.json"
        self.entries: dict[str, MadeFile] = {}
        journaled = self.journal.read()
        self.fresh = {str(data.get("file")) for data in journaled}  # perhaps noted, but not made
        for data in [*_closed(self.place), *journaled]:
            with suppress(TypeError, KeyError):
                entry = MadeFile(**{**data, **{name: tuple(data[name]) for name in TUPLES}})
                self.entries[entry.file] = entry

    def note(self, entry: MadeFile) -> None:
        """Before the file is moved into place."""
        self.entries[entry.file] = entry
        self.fresh.add(entry.file)
        self.journal.append(asdict(entry))

    def move(self, moves: Mapping[str, str]) -> None:
        """Entries follow their files; `moves` names files and folders."""
        before, self.entries = self.entries, {}
        for name, entry in before.items():
            folder, _, file = name.partition("/")
            to = moves.get(name) or (f"{moves[folder]}/{file}" if folder in moves else name)
            self.entries[to] = replace(entry, file=to)
        if before:
            self.close()

    def close(self) -> None:
        """One file in place of the journal. What is gone with its original is forgotten."""
        kept = {
            name: asdict(entry)
            for name, entry in sorted(self.entries.items())
            if (self.root / name).exists() or self.taken_out(entry)
        }
        write_atomic(self.place, json.dumps({"version": VERSION, "files": kept}, indent=1) + "\n")
        self.journal.clear()

    def taken_out(self, entry: MadeFile) -> bool:
        """Whether a picture that was made is gone, and its original and its folder are not."""
        place = self.root / entry.file
        if entry.file in self.fresh or place.exists():
            return False
        return (self.root / entry.source).exists() and place.parent.is_dir()

    def entry_of(self, file: str, source: str) -> MadeFile | None:
        """Also when somebody has renamed its folder since and the file is as lorakit wrote it."""
        if file in self.entries:
            return self.entries[file]
        for name, entry in self.entries.items():
            same_name = entry.source == source and Path(name).name == Path(file).name
            moved = replace(entry, file=file)
            if same_name and not (self.root / name).exists() and not self.edited(moved):
                del self.entries[name]
                self.entries[file] = moved
                return moved
        return None

    def edited(self, entry: MadeFile) -> bool:
        """Since lorakit wrote it; the file is read only when its stamp differs."""
        path = self.root / entry.file
        return stamp_of(path) != entry.stamp and sha256(path) not in {entry.sha, entry.replaces}


def _closed(path: Path) -> list[dict[str, Any]]:
    data = json_text.read_or(path, {})
    known = isinstance(data, dict) and data.get("version") == VERSION
    return list(data["files"].values()) if known else []


@dataclass(frozen=True)
class SubsetPlan:
    """One folder of originals, which is named by its class tokens alone: repeats may change."""

    repeats: int
    trigger: str
    tag: str = ""

    @property
    def tokens(self) -> str:
        return f"{self.trigger}_{self.tag}" if self.tag else self.trigger


@dataclass(frozen=True)
class Arrangement:
    subsets: Mapping[str, SubsetPlan] = field(default_factory=dict)  # by class tokens
    # originals that `dataset layout` has put into another subset than their folder's: its tokens
    assigned: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, dict[str, Any]]:
        subsets = {name: asdict(subset) for name, subset in self.subsets.items()}
        return {"subsets": subsets, "assigned": dict(self.assigned)}


def arrangement_of(data: Mapping[str, Any]) -> Arrangement:
    try:
        subsets = {name: SubsetPlan(**one) for name, one in data.get("subsets", {}).items()}
    except (TypeError, AttributeError):
        subsets = {}
    assigned = data.get("assigned")
    pairs = assigned.items() if isinstance(assigned, dict) else ()
    return Arrangement(subsets, {str(name): str(tokens) for name, tokens in pairs})


def read_arrangement(root: Path) -> Arrangement:
    files = {name: root / FOLDER / f"{name}.json" for name in Arrangement().as_data()}
    return arrangement_of({name: json_text.read_or(path, {}) for name, path in files.items()})


def arrange(root: Path, wanted: Arrangement) -> None:
    """Written only where it says something else than what is there."""
    before = read_arrangement(root).as_data()
    for name, data in wanted.as_data().items():
        if data != before[name]:
            text = json.dumps(dict(sorted(data.items())), indent=1) + "\n"
            write_atomic(root / FOLDER / f"{name}.json", text)


def subset_folders(root: Path) -> dict[str, tuple[int, str]]:
    """Subset folders with what their names say, in the order of all tables."""
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(path.name)
        if path.is_dir() and parsed:
            found[path.name] = (parsed.repeats, parsed.class_tokens)
    return found


def folder_for(root: Path, tokens: str, repeats: int) -> Path:
    """The folder with these class tokens, whatever its number; a new name where there is none."""
    named = (name for name, (_, known) in subset_folders(root).items() if known == tokens)
    return root / next(named, format_folder(repeats, tokens))
