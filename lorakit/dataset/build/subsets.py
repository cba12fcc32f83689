"""Renaming, splitting, merging subsets: prepared folders only, journaled, to be undone."""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from lorakit.dataset.build.manifest import (
    FOLDER,
    Arrangement,
    Manifest,
    SubsetPlan,
    arrange,
    arrangement_of,
    read_arrangement,
    subset_folders,
)
from lorakit.dataset.build.originals import ORIGINALS
from lorakit.dataset.captions.edit import Change
from lorakit.dataset.facts import SubsetFacts, format_folder, is_image_name
from lorakit.dataset.rules import shown
from lorakit.dataset.split import balanced, solve
from lorakit.errors import Fault, RecipeError, counted, did_you_mean
from lorakit.files import TAKEN, take_name, write_atomic
from lorakit.journal import Journal, now
from lorakit.portable import folded
from lorakit.user_files import read_text


@dataclass(frozen=True)
class Step:
    """What is to be done, decided before anything moves. Paths are relative to the dataset."""

    what: str
    moves: tuple[tuple[str, str], ...]
    after: Arrangement
    edits: tuple[Change, ...] = ()  # of files that speak of the folders

    @property
    def renamed(self) -> dict[str, str]:
        """Whole folders, before and after."""
        return {source: to for source, to in self.moves if "/" not in source}


def find(root: Path, word: str) -> str:
    """The folder that is meant, by its name or by its class tokens."""
    known = subset_folders(root)
    if word in known or word == root.name:  # an album that is a subset as it lies
        return word
    same = [name for name, (_, tokens) in known.items() if tokens == word]
    if len(same) == 1:
        return same[0]
    if same:
        hint = f"It can be {' and '.join(same)}; give the folder's name."
        raise RecipeError(f"{word!r} can mean two subsets.", hint=hint)
    hint = did_you_mean(word, [*known, *(tokens for _, tokens in known.values())])
    raise RecipeError(f"{root}: no subset is called {word!r}.", hint=hint)


def set_repeats(root: Path, wanted: Mapping[str, int]) -> Step:
    """`wanted`: folder name to repeats."""
    known = subset_folders(root)
    before = read_arrangement(root)
    subsets = dict(before.subsets)
    moves = []
    for name, repeats in wanted.items():
        if name not in known:
            hint = f"Write [dataset.subset.{name}] num_repeats = {repeats} there."
            raise RecipeError(f"{shown(name)}: the recipe says its repeats.", hint=hint)
        tokens = known[name][1]
        to = format_folder(repeats, tokens)
        if to != name:
            moves.append((name, to))
        if tokens in subsets:
            subsets[tokens] = replace(subsets[tokens], repeats=repeats)
    _refuse_taken(root, moves)
    what = "repeats " + ", ".join(f"{name} -> {n}" for name, n in wanted.items())
    return Step(what, tuple(moves), replace(before, subsets=subsets))


def solved(
    root: Path,
    subsets: Sequence[SubsetFacts],
    *,
    steps: int | None,
    ratio: Mapping[str, float],
    epochs: int,
    per_step: int,
) -> Step:
    """The nearest to so many steps; `ratio` weighs each folder (empty: as they are now)."""
    images = [len(subset.images) for subset in subsets]
    if not images:
        raise RecipeError(f"{root}: no subset with images; there is nothing to solve.")
    repeats = [subset.repeats for subset in subsets]
    shares = [float(n * count) for n, count in zip(repeats, images, strict=True)]
    weights = [ratio[subset.path.name] for subset in subsets] if ratio else shares
    if steps and steps < 0:
        raise RecipeError(f"--steps {steps}: write a number from 1 on.")
    if steps:
        found = solve(images, steps * per_step / epochs, weights)
    else:
        found = balanced(images, repeats, weights)
    names = (subset.path.name for subset in subsets)
    return set_repeats(root, dict(zip(names, found, strict=True)))


def read_ratio(
    root: Path, subsets: Sequence[SubsetFacts], words: Sequence[str]
) -> dict[str, float]:
    """`maya_char=4 realbody=1`: one weight for each folder, which may be named by its tokens."""
    folders = [subset.path.name for subset in subsets]
    tokens = [subset.class_tokens for subset in subsets]
    plain = tokens if len(set(tokens)) == len(tokens) else folders
    hint = f"Write --ratio {' '.join(f'{name}=1' for name in plain)}, with your numbers."
    ratio = {}
    for word in words:
        name, _, weight = word.partition("=")
        try:
            ratio[find(root, name) if weight else name] = float(weight)
        except ValueError:
            raise RecipeError(f"--ratio {word!r} is no weight of a subset.", hint=hint) from None
    if sorted(ratio) != sorted(folders):
        raise RecipeError("--ratio must give each subset a weight.", hint=hint)
    if not all(0 < weight < math.inf for weight in ratio.values()):
        raise RecipeError("--ratio: every weight must be more than nothing.", hint=hint)
    return ratio


def rename(root: Path, word: str, tokens: str, pattern: str = "*") -> Step:
    """Other class tokens for a subset, or for the images of it whose names match."""
    if any(other == tokens for _, other in subset_folders(root).values()):
        hint = f"--merge {word}={tokens} puts them together."
        raise RecipeError(f"{root}: there is a subset {tokens!r} already.", hint=hint)
    return _moved(root, find(root, word), tokens, pattern)


def merge(root: Path, word: str, into: str) -> Step:
    return _moved(root, find(root, word), subset_folders(root)[find(root, into)][1])


def _moved(root: Path, name: str, tokens: str, pattern: str = "*") -> Step:
    """The images whose names match, with their captions and caches, under other class tokens."""
    known = subset_folders(root)
    repeats, _ = known[name]
    files = sorted(os.listdir(root / name))
    every = {os.path.splitext(file)[0] for file in files if is_image_name(file)}
    matching = (file for file in files if is_image_name(file) and fnmatchcase(file, pattern))
    stems = {os.path.splitext(file)[0] for file in matching}
    if not stems:
        raise RecipeError(f"{root / name}: no image matches {pattern!r}.")
    there = next((folder for folder, (_, other) in known.items() if other == tokens), "")
    to = there or format_folder(repeats, tokens)
    if not there and pattern == "*":
        moves = [(name, to)]
    else:
        moves = [(f"{name}/{f}", f"{to}/{f}") for f in files if image_of(f, every) in stems]
    _refuse_taken(root, moves)
    before = read_arrangement(root)
    target = SubsetPlan(known[to][0] if there else repeats, tokens)
    moving = {f"{name}/{stem}" for stem in stems}
    moved = {
        entry.source: tokens
        for entry in Manifest(root).entries.values()
        if os.path.splitext(entry.file)[0] in moving and entry.source.startswith(f"{ORIGINALS}/")
    }
    after = Arrangement({tokens: target, **before.subsets}, {**before.assigned, **moved})
    return Step(f"{name} ({counted(len(stems), 'image')}) -> {to}", tuple(moves), after)


def image_of(file: str, images: Collection[str]) -> str:
    """The image that a file belongs to: of a cache the longest name that it begins with."""
    stem, extension = os.path.splitext(file)
    if stem in images or extension != ".npz":
        return stem
    words = stem.split("_")
    shorter = ("_".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    return next((name for name in shorter if name in images), stem)


def _refuse_taken(root: Path, moves: Sequence[tuple[str, str]]) -> None:
    leaving = {source for source, _ in moves}
    taken = [
        Fault(shown(to), f"is there already; {shown(source)} cannot take its name.", rule="layout")
        for source, to in moves
        if os.path.lexists(root / to) and to not in leaving
    ]
    targets = [folded(to) for _, to in moves]
    taken += [
        Fault(shown(to), "would be the name of two things.", rule="layout")
        for to in sorted({to for _, to in moves if targets.count(folded(to)) > 1})
    ]
    if taken:
        raise RecipeError("Nothing was moved.", faults=taken)


def unmanaged_folders(root: Path, step: Step) -> list[str]:
    """Folders among the moves with images that lorakit did not make: they do not move unasked."""
    ours = {entry.file for entry in Manifest(root).entries.values()}
    found = set()
    for source, _ in step.moves:
        folder, _, file = source.partition("/")
        names = filter(is_image_name, [file] if file else os.listdir(root / folder))
        if not ours.issuperset(f"{folder}/{name}" for name in names):
            found.add(folder)
    return sorted(found)


def apply(root: Path, step: Step) -> None:
    """Journal first, then move; nothing moves where a free name has been taken since."""
    log, before = _journal(root), read_arrangement(root).as_data()
    edits = [[str(one.path), one.before, one.after] for one in step.edits]
    entry = {"when": now(), "what": step.what, "moves": list(step.moves), "edits": edits}
    steps = log.read()
    log.rewrite([*steps, entry | before])
    try:
        _move(root, step.moves)
    except (RecipeError, OSError):
        log.rewrite(steps)
        raise
    for edited in step.edits:
        write_atomic(edited.path, edited.after)
    arrange(root, step.after)


def undo(root: Path) -> str:
    """Takes the last step back; a file that was edited since stays as it is."""
    steps = _journal(root).read()
    if not steps:
        raise RecipeError(f"{root}: no layout step is left to undo.")
    last = steps[-1]
    back = [(to, source) for source, to in reversed(last["moves"]) if os.path.lexists(root / to)]
    _refuse_taken(root, back)
    _move(root, back)
    for name, before, after in last.get("edits", ()):
        if Path(name).is_file() and read_text(Path(name)) == after:
            write_atomic(Path(name), before)
    arrange(root, arrangement_of(last))
    _journal(root).rewrite(steps[:-1])
    return str(last["what"])


def _move(root: Path, moves: Sequence[tuple[str, str]]) -> None:
    """All of them or none. Two renames each where names are exchanged among the moves."""
    sources = {source for source, _ in moves}
    parked = {
        source: f"{source}.moving" if to in sources and source != to else source
        for source, to in moves
    }
    renames = [(source, place) for source, place in parked.items() if place != source]
    renames += [(parked[source], to) for source, to in moves]
    done: list[tuple[str, str]] = []
    try:
        for source, to in renames:
            _rename(root / source, root / to)
            done.append((source, to))
    except OSError as error:
        for source, to in reversed(done):
            _rename(root / to, root / source)
        if error.errno in TAKEN:
            what = f"{shown(to)} is there since just now; nothing was moved."
            raise RecipeError(what, hint="Run the same command again.") from error
        raise
    Manifest(root).move(dict(moves))
    for folder in {(root / source).parent for source, _ in moves} - {root}:
        with suppress(OSError):  # still holds something: stays
            folder.rmdir()


def _rename(source: Path, to: Path) -> None:
    """Over nothing: a folder's rename refuses one that holds anything by itself."""
    to.parent.mkdir(parents=True, exist_ok=True)
    (os.rename if source.is_dir() and not source.is_symlink() else take_name)(source, to)


def _journal(root: Path) -> Journal:
    return Journal(root / FOLDER / "layout.jsonl")
