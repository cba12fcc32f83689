"""Renaming, splitting and merging subsets. Only prepared folders move, never originals; every step
is journaled and can be undone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lorakit.dataset.build.originals import ORIGINALS, Subset, read_subsets, subsets_path
from lorakit.dataset.build.jobs import assigned_path, read_assigned
from lorakit.dataset.folder_names import NotASubset, format_folder, parse_folder
from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import is_image_name
from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.files import write_atomic


@dataclass(frozen=True)
class Step:
    """What is to be done, decided before anything moves. Paths are relative to the dataset."""

    what: str
    moves: tuple[tuple[str, str], ...] = ()
    subsets: Mapping[str, Subset] = field(default_factory=dict)  # the whole table afterwards
    assigned: Mapping[str, str] = field(default_factory=dict)


def folders(root: Path) -> dict[str, tuple[int, str]]:
    """Subset folders with what their names say, in the order of all tables."""
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(path.name)
        if path.is_dir() and not isinstance(parsed, NotASubset):
            found[path.name] = (parsed.repeats, parsed.class_tokens)
    return found


def find(root: Path, word: str) -> str:
    """The folder that a person means by its name or by its class tokens."""
    known = folders(root)
    if word in known:
        return word
    same = [name for name, (_, tokens) in known.items() if tokens == word]
    if len(same) == 1:
        return same[0]
    words = [*known, *(tokens for _, tokens in known.values())]
    hint = (
        f"It stands for {' and '.join(same)}; give the whole name."
        if same
        else did_you_mean(word, words)
    )
    raise RecipeError(
        f"{root}: no subset is called {word!r}." if not same else f"{word!r} can mean two subsets.",
        hint=hint,
    )


def set_repeats(root: Path, wanted: Mapping[str, int]) -> Step:
    """`wanted`: folder name to repeats."""
    known = folders(root)
    subsets = dict(read_subsets(root))
    moves = []
    for name, repeats in wanted.items():
        tokens = known[name][1]
        to = format_folder(repeats, tokens)
        if to != name:
            moves.append((name, to))
        if tokens in subsets:
            subsets[tokens] = Subset(repeats, subsets[tokens].trigger, subsets[tokens].tag)
    _refuse_taken(root, moves)
    return Step(
        "repeats " + ", ".join(f"{name} -> {n}" for name, n in wanted.items()),
        tuple(moves),
        subsets,
        read_assigned(root),
    )


def move_images(root: Path, name: str, tokens: str, pattern: str = "*") -> Step:
    """The images of one subset whose names match, with their captions and caches, under other
    class tokens: rename, split and merge.
    """
    known = folders(root)
    repeats, _ = known[name]
    stems = {
        os.path.splitext(file)[0]
        for file in os.listdir(root / name)
        if is_image_name(file) and fnmatchcase(file, pattern)
    }
    if not stems:
        raise RecipeError(f"{root / name}: no image matches {pattern!r}.")
    there = next((folder for folder, (_, other) in known.items() if other == tokens), "")
    to = there or format_folder(repeats, tokens)
    if not there and pattern == "*":
        moves = [(name, to)]
    else:
        every = {
            os.path.splitext(file)[0] for file in os.listdir(root / name) if is_image_name(file)
        }
        moves = [
            (f"{name}/{file}", f"{to}/{file}")
            for file in sorted(os.listdir(root / name))
            if _owner(file, every) in stems
        ]
    _refuse_taken(root, moves)
    subsets = dict(read_subsets(root))
    subsets.setdefault(tokens, Subset(known[to][0] if there else repeats, tokens))
    assigned = dict(read_assigned(root))
    moving = {f"{name}/{stem}" for stem in stems}
    for entry in Manifest(root).entries.values():
        if os.path.splitext(entry.file)[0] in moving and entry.source.startswith(f"{ORIGINALS}/"):
            assigned[entry.source] = tokens
    return Step(f"{name} ({len(stems)} images) -> {to}", tuple(moves), subsets, assigned)


def _owner(file: str, images: Collection[str]) -> str:
    """The image (without extension) that a file belongs to: itself, or for a cache the longest
    name that it begins with.
    """
    stem, extension = os.path.splitext(file)
    if stem in images or extension != ".npz":
        return stem
    words = stem.split("_")
    return next(
        (
            name
            for count in range(len(words) - 1, 0, -1)
            if (name := "_".join(words[:count])) in images
        ),
        stem,
    )


def _refuse_taken(root: Path, moves: Sequence[tuple[str, str]]) -> None:
    leaving = {source for source, _ in moves}
    taken = [
        Fault(shown(to), f"is there already; {shown(source)} cannot take its name.", rule="layout")
        for source, to in moves
        if os.path.lexists(root / to) and to not in leaving
    ]
    targets = [to for _, to in moves]
    taken += [
        Fault(shown(to), "would be the name of two things.", rule="layout")
        for to in sorted({to for to in targets if targets.count(to) > 1})
    ]
    if taken:
        raise RecipeError("Nothing was moved.", faults=taken)


def strangers(root: Path, step: Step) -> list[str]:
    """Folders among the moves that hold images which lorakit did not make: somebody's own, so they
    do not move unasked.
    """
    ours = {entry.file for entry in Manifest(root).entries.values()}
    names = sorted({source.split("/")[0] for source, _ in step.moves})
    moving = {source for source, _ in step.moves}
    foreign = {
        name: [
            file
            for file in os.listdir(root / name)
            if is_image_name(file) and f"{name}/{file}" not in ours
        ]
        for name in names
    }
    return [
        name
        for name, files in foreign.items()
        if any(name in moving or f"{name}/{file}" in moving for file in files)
    ]


def apply(root: Path, step: Step) -> None:
    """Journal first, then move. Nothing is overwritten: every target was free when the step was
    decided.
    """
    _log(
        root,
        {
            "what": step.what,
            "moves": list(step.moves),
            "subsets": _subsets_data(read_subsets(root)),
            "assigned": dict(read_assigned(root)),
        },
    )
    _move(root, step.moves)
    _write_state(root, _subsets_data(step.subsets), step.assigned)


def undo(root: Path) -> str:
    """Take the last step back; refuses where something else has taken a place since."""
    steps = read_steps(root)
    if not steps:
        raise RecipeError(f"{root}: no layout step is left to undo.")
    last = steps[-1]
    back = [(to, source) for source, to in reversed(last["moves"]) if os.path.lexists(root / to)]
    _refuse_taken(root, back)
    _move(root, back)
    _write_state(root, last["subsets"], last["assigned"])
    _log_all(root, steps[:-1])
    return str(last["what"])


def _move(root: Path, moves: Sequence[tuple[str, str]]) -> None:
    """Two renames each where names are exchanged among the moves."""
    sources = {source for source, _ in moves}
    parked = {
        source: f"{source}.moving" if to in sources and source != to else source
        for source, to in moves
    }
    for source, place in parked.items():
        if place != source:
            os.rename(root / source, root / place)
    emptied = set()
    for source, to in moves:
        (root / to).parent.mkdir(parents=True, exist_ok=True)
        os.rename(root / parked[source], root / to)
        emptied.add((root / source).parent)
    Manifest(root).move(dict(moves))
    for folder in emptied - {root}:
        with suppress(OSError):  # still holds something: stays
            folder.rmdir()


def _write_state(root: Path, subsets: Mapping[str, object], assigned: Mapping[str, str]) -> None:
    if subsets or subsets_path(root).exists():
        write_atomic(subsets_path(root), json.dumps(dict(sorted(subsets.items())), indent=1) + "\n")
    if assigned or assigned_path(root).exists():
        write_atomic(
            assigned_path(root), json.dumps(dict(sorted(assigned.items())), indent=1) + "\n"
        )


def _subsets_data(subsets: Mapping[str, Subset]) -> dict[str, object]:
    return {name: asdict(subset) for name, subset in subsets.items()}


def journal_path(root: Path) -> Path:
    return root / FOLDER / "layout.jsonl"


def read_steps(root: Path) -> list[dict[str, Any]]:
    found = []
    with suppress(OSError):
        for line in journal_path(root).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _log(root: Path, step: Mapping[str, object]) -> None:
    _log_all(
        root,
        [
            *read_steps(root),
            {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), **step},
        ],
    )


def _log_all(root: Path, steps: Sequence[Mapping[str, object]]) -> None:
    write_atomic(journal_path(root), "".join(json.dumps(step) + "\n" for step in steps))
