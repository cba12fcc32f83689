"""Scoring pictures, and choosing the best balanced set of them as a new dataset."""

import csv
import json
import math
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.dataset.build.manifest import FOLDER, Arrangement, Manifest, arrange, read_arrangement
from lorakit.dataset.build.originals import ORIGINALS
from lorakit.dataset.build.remembered import read_remembered
from lorakit.dataset.build.sources import images_below
from lorakit.dataset.captions.read import caption_beside
from lorakit.dataset.check.looks import look_at
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.files import new_folder, sha256, write_atomic
from lorakit.user_files import read_text

VERSION = 1
NEAR_BITS = 6  # dHashes of two pictures that differ in fewer bits show the same thing
FAR_BITS = 24  # beyond this two pictures have nothing in common as far as a dHash can tell
LIKENESS_COST = 25.0  # points that a perfect twin of a chosen picture would lose under --diverse
# whether it was edited since lorakit put it there, when it was changed, and where it is
Place = tuple[bool, int, Path]


@dataclass(frozen=True)
class Ranked:
    """One picture with its score. `file` is relative to the dataset, with forward slashes."""

    file: str
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    dhash: str = ""  # 16 hex digits; empty where the score came from elsewhere
    faults: tuple[str, ...] = ()

    @property
    def category(self) -> str:
        return Path(self.file).parent.name


@dataclass(frozen=True)
class Selection:
    chosen: tuple[Ranked, ...]
    left_out: tuple[tuple[Ranked, str], ...]

    def averages(self) -> dict[str, tuple[int, float]]:
        """How many of each category, and their mean score."""
        groups = by_category(self.chosen).items()
        means = {name: sum(item.score for item in items) / len(items) for name, items in groups}
        return {name: (len(items), round(means[name], 1)) for name, items in groups}


def pictures(root: Path) -> list[Path]:
    """Those of `originals/`, else of the subset folders; none that was dropped."""
    dropped = read_remembered(root).dropped
    found = images_below(root / ORIGINALS) or images_below(root)
    names = ((path, path.relative_to(root).as_posix()) for path in found if path.is_file())
    return [path for path, name in names if name not in dropped]


def rank(
    root: Path, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> list[Ranked]:
    """Best first within each category; what cannot be read gets 0 and its reason."""
    from lorakit.dataset.check.measures import near_pairs, scores, total

    paths = pictures(root)
    if not paths:
        hint = "Give the dataset folder; `lorakit dataset add` fills it."
        raise RecipeError(f"{root}: no pictures here or below.", hint=hint)
    home = root / ORIGINALS if root / ORIGINALS in paths[0].parents else root
    looks = look_at(home, paths, progress=progress)
    fine = [path for path in paths if not looks[path].problem]
    alone = {path: total(scores(looks[path])) for path in fine}
    nearest = dict.fromkeys(fine, 64)
    for i, j, distance in near_pairs([looks[path].dhash for path in fine], within=14):
        # of two alike the worse one loses, and of two equal ones the second
        worse = min((fine[j], fine[i]), key=lambda path: alone[path])
        nearest[worse] = min(nearest[worse], distance)
    ranked = []
    for path in paths:
        name, seen = path.relative_to(root).as_posix(), looks[path]
        if seen.problem:
            ranked.append(Ranked(name, 0.0, faults=(f"cannot be decoded: {seen.problem}",)))
            continue
        parts = scores(seen, nearest=nearest[path])
        size, dhash = (seen.width, seen.height), f"{seen.dhash:016x}"
        ranked.append(Ranked(name, total(parts), parts, *size, dhash))
    return sorted(ranked, key=_order)


def write_rankings(root: Path, ranked: Sequence[Ranked]) -> list[Path]:
    """One `<category>_ranking.json` a category, beside the subset folders."""
    written = []
    for category, items in by_category(ranked).items():
        path = root / f"{category}_ranking.json"
        images = [asdict(item) for item in items]
        data = {"version": VERSION, "category": category, "images": images}
        write_atomic(path, json.dumps(data, indent=1) + "\n")
        written.append(path)
    return written


def read_scores(path: Path) -> dict[str, float]:
    """By file name, from a ranking or a CSV: yours, or another model's."""
    try:
        text = read_text(path, most=json_text.MOST)
        if path.suffix.lower() == ".csv":
            rows: Any = csv.DictReader(text.splitlines(), skipinitialspace=True)
        else:
            data = json_text.loads(text)
            rows = data["images"] if isinstance(data, dict) else data
        return {str(row["file"]): _score(row["score"]) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "A CSV has the columns file,score; a JSON has images: [{file, score}]."
        what = f"{path}: not a list of scores ({type(error).__name__}: {error})."
        raise RecipeError(what, hint=hint) from error


def with_scores(
    ranked: Iterable[Ranked], given: Mapping[str, float]
) -> tuple[list[Ranked], list[Fault]]:
    """Given scores win, matched by path, else by a file name that one picture has."""
    items = list(ranked)
    places = {item.file: [place] for place, item in enumerate(items)}
    for place, item in enumerate(items):
        places.setdefault(Path(item.file).name, []).append(place)
    faults = []
    for name, score in given.items():
        found = places.get(name) or places.get(Path(name).name, [])
        if len(found) == 1:
            items[found[0]] = replace(items[found[0]], score=score)
            continue
        what = "scored, but there is no such picture in the dataset."
        if found:
            what = f"scored, but {len(found)} pictures have this name; write its folder too."
        faults.append(Fault(shown(name), what, "", "score-unmatched", "warning"))
    return items, faults


def select(
    ranked: Iterable[Ranked],
    *,
    per_category: int,
    min_score: float = 0.0,
    worst: float = 0.0,
    diverse: bool = False,
) -> Selection:
    """The best of each category, never two that show the same thing; with `diverse`, unlike ones
    before slightly better ones. `worst`: the share of each category that is left out first.
    """
    chosen: list[Ranked] = []
    left: list[tuple[Ranked, str]] = []
    for items in by_category(ranked).values():
        waiting = []
        kept = len(items) - math.floor(worst * len(items))
        for place, item in enumerate(items):
            if item.faults:
                left.append((item, item.faults[0]))
            elif place >= kept:
                left.append((item, f"is among the worst {worst:.0%} of {item.category}"))
            elif item.score < min_score:
                left.append((item, f"score {item.score:g} is below {min_score:g}"))
            else:
                waiting.append(item)
        full = len(chosen) + per_category
        while waiting:  # greedy: the most valuable; what resembles it is worth less from now on
            best = max(waiting, key=lambda item: _worth(item, chosen if diverse else ()))
            waiting.remove(best)
            twin = next((other for other in chosen if _distance(best, other) <= NEAR_BITS), None)
            if twin is not None:
                left.append((best, f"near-duplicate of {twin.file}"))
            elif len(chosen) == full:
                left.append((best, f"{per_category} better ones were chosen"))
            else:
                chosen.append(best)
    return Selection(tuple(chosen), tuple(left))


def copy_selection(root: Path, selection: Selection, target: Path) -> None:
    """A new dataset, complete or not at all; its selection.json says what each file was."""
    with new_folder(target) as beside:
        origin = dict(_copies(root, selection, beside, target))
        now = read_arrangement(root)
        kept = {new: now.assigned[old] for new, old in origin.items() if old in now.assigned}
        arrange(beside, Arrangement(now.subsets, kept))
        data = {
            "version": VERSION,
            "from": root.name,
            "averages": selection.averages(),
            "files": origin,
            "left_out": {item.file: why for item, why in selection.left_out},
        }
        write_atomic(beside / "selection.json", json.dumps(data, indent=1) + "\n")


def by_category(ranked: Iterable[Ranked]) -> dict[str, list[Ranked]]:
    groups: dict[str, list[Ranked]] = {}
    for item in sorted(ranked, key=_order):
        groups.setdefault(item.category, []).append(item)
    return groups


def _order(item: Ranked) -> tuple[str, float, str]:
    return item.category, -item.score, item.file


def _worth(item: Ranked, chosen: Sequence[Ranked]) -> float:
    nearest = min((_distance(item, other) for other in chosen), default=FAR_BITS)
    return item.score - LIKENESS_COST * max(0.0, 1 - nearest / FAR_BITS)


def _distance(a: Ranked, b: Ranked) -> int:
    return (int(a.dhash, 16) ^ int(b.dhash, 16)).bit_count() if a.dhash and b.dhash else 64


def _copies(
    root: Path, selection: Selection, target: Path, named: Path
) -> Iterator[tuple[str, str]]:
    captions = _carried(root, {root / item.file for item in selection.chosen}, named)
    for category, items in by_category(selection.chosen).items():
        for number, item in enumerate(items, 1):
            source = root / item.file
            name = f"{category}_selected_{number:02d}{source.suffix.lower()}"
            new = Path(item.file).parent / name
            (target / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / new)
            if caption := captions[source]:
                shutil.copy2(caption, (target / new).with_suffix(caption.suffix.lower()))
            yield new.as_posix(), item.file


def _carried(root: Path, wanted: Collection[Path], beside: Path) -> dict[Path, Path | None]:
    """Each picture's caption that somebody has worked on last, in any version of the dataset."""
    sizes = {path.stat().st_size for path in wanted}
    found: dict[str, Place] = {}
    for version in _versions(root, beside):
        for digest, place in _captions(version, sizes):
            found[digest] = max(found.get(digest, place), place)
    known = {path: found.get(sha256(path)) for path in wanted}
    return {path: place[2] if place else caption_beside(path) for path, place in known.items()}


def _versions(root: Path, beside: Path) -> list[Path]:
    """Datasets that lie beside this one, or where the next one is to lie; this one first."""
    places = dict.fromkeys([root.parent, beside.parent])
    folders = (one for place in places if place.is_dir() for one in sorted(place.iterdir()))
    others = [one for one in folders if any((one / name).is_dir() for name in (FOLDER, ORIGINALS))]
    return [root, *(one for one in others if one.resolve() != root.resolve())]


def _captions(version: Path, sizes: set[int]) -> Iterator[tuple[str, Place]]:
    for entry in Manifest(version).entries.values():
        caption = caption_beside(version / entry.file)
        if caption is not None and entry.source_stamp[0] in sizes:
            edited = sha256(caption) != entry.caption_sha
            yield entry.source_sha, (edited, caption.stat().st_mtime_ns, caption)
    for path in images_below(version / ORIGINALS):
        caption = caption_beside(path)
        if caption is not None and path.is_file() and path.stat().st_size in sizes:
            yield sha256(path), (False, caption.stat().st_mtime_ns, caption)


def _score(value: Any) -> float:
    score = float(value)
    if not math.isfinite(score):
        raise ValueError(f"{value} is not a score")
    return score
