"""Photos into originals/: copied completely or not at all, each once, with a journal."""

import os
import shutil
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from lorakit.dataset.build.manifest import SubsetPlan, arrange, read_arrangement
from lorakit.dataset.build.sources import Candidate, gather
from lorakit.dataset.check.looks import look
from lorakit.dataset.check.model import Look
from lorakit.dataset.facts import FORBIDDEN, FOREIGN, format_folder
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.files import below, into_place, owner_mark, sha256, sweep
from lorakit.journal import Journal, now
from lorakit.pictures.pool import WorkerDied, spread
from lorakit.portable import folded

ORIGINALS = "originals"
MIN_SIDE = 64  # kohya's smallest bucket step: less cannot be trained on at all


@dataclass(frozen=True)
class Added:
    source: str
    path: Path
    caption: Path | None


@dataclass(frozen=True)
class AddOutcome:
    added: Sequence[Added]
    present: Sequence[str]  # there already, by content
    refused: Sequence[Fault]


def add(
    root: Path,
    subset: SubsetPlan,
    paths: Sequence[Path],
    *,
    min_side: int = MIN_SIDE,
    link: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> AddOutcome:
    """Every good image that `paths` name into originals/<tokens>/; of every other one why not."""
    folder = root / ORIGINALS / subset.tokens
    sweep(Path(tempfile.gettempdir()).glob("lorakit-add-*"))
    with tempfile.TemporaryDirectory(prefix=f"lorakit-add-{owner_mark()}-") as incoming:
        candidates, refused = gather(paths, Path(incoming), skip=(root / ORIGINALS).resolve())
        looks: dict[Path, Look | WorkerDied] = {}
        for path, result in spread(look, [candidate.path for candidate in candidates]):
            looks[path] = result
            progress(len(looks), len(candidates))
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            now = read_arrangement(root)
            arrange(root, replace(now, subsets={**now.subsets, subset.tokens: subset}))
        originals = Originals(root, folder)
        added: list[Added] = []
        present: list[str] = []
        for candidate in candidates:
            problem = _problem(candidate, looks[candidate.path], min_side)
            twin = None if problem else originals.twin(candidate.path)
            if problem:
                refused.append(problem)
            elif twin is None:
                own = Path(incoming) in candidate.path.parents  # out of an archive
                how = {"dry_run": dry_run, "link": link and not own}
                added.append(_copied(root, originals, candidate, **how))
            elif twin.parent == folder and twin not in originals.fresh:
                present.append(candidate.label)
            else:
                what = f"is the same picture as {shown(twin.relative_to(root))}."
                refused.append(Fault(candidate.label, what, rule="duplicate", severity="warning"))
            if twin is not None and twin.parent == folder:
                _late_caption(candidate, twin, dry_run=dry_run)
    return AddOutcome(added, present, refused)


def _problem(candidate: Candidate, seen: Look | WorkerDied, min_side: int) -> Fault | None:
    where = candidate.label
    if isinstance(seen, WorkerDied):
        return Fault(where, f"{seen}.", rule="undecodable")
    if seen.bomb:
        return Fault(where, f"{seen.problem}.", rule="bomb")
    if seen.problem:
        foreign = candidate.path.suffix.lower() in FOREIGN and "JPEG" not in seen.problem
        hint = "Export it as JPEG." if foreign else ""
        return Fault(where, f"cannot be decoded: {seen.problem}.", hint, "undecodable")
    if min(seen.width, seen.height) < min_side:
        size = f"is {seen.width}x{seen.height}"
        what = f"{size}; the shorter side must have at least {min_side} pixels."
        return Fault(where, what, rule="too-small")
    return None


class Originals:
    """What is in originals/: found again by content, and which names are free."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.fresh: set[Path] = set()
        self._by_size: dict[int, list[Path]] = defaultdict(list)
        self._hashes: dict[Path, str] = {}
        for path in sorted((root / ORIGINALS).glob("*/*")):
            if path.is_file() and not path.name.startswith("."):
                self._by_size[path.stat().st_size].append(path)
        there = folder.iterdir() if folder.is_dir() else ()
        self._stems = {folded(path.stem) for path in there}

    def twin(self, path: Path) -> Path | None:
        """A file of the same bytes; only files of the same size are read."""
        same_size = self._by_size.get(path.stat().st_size, [])
        digest = sha256(path) if same_size else ""
        own = [known for known in same_size if self._hash(known) == digest]
        return min(own, key=lambda known: known.parent != self.folder, default=None)

    def place(self, name: str) -> Path:
        """A free name: two images never share a stem, because they would share a caption."""
        stem, suffix = os.path.splitext(clean_name(name))
        return self.folder / f"{free_stem(stem, self._stems)}{suffix.lower()}"

    def put(self, path: Path, bytes_at: Path) -> None:
        """`bytes_at` differs from `path` in a dry run, where nothing has been copied."""
        self.fresh.add(path)
        self._by_size[bytes_at.stat().st_size].append(path)
        self._hashes[path] = sha256(bytes_at)

    def _hash(self, path: Path) -> str:
        return self._hashes.get(path) or self._hashes.setdefault(path, sha256(path))


def clean_name(name: str) -> str:
    """A name that every system takes and no terminal chokes on."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    text = "".join("_" if c in FORBIDDEN or not c.isprintable() else c for c in text).strip(" .")
    stem, suffix = os.path.splitext(text)
    return stem.encode()[:180].decode(errors="ignore") + suffix


def free_stem(stem: str, taken: set[str]) -> str:
    """The stem, or with a number behind it; taken from now on."""
    stem = stem or "image"
    numbered = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
    free = next(name for name in numbered if folded(name) not in taken)
    taken.add(folded(free))
    return free


def name_of(root: Path, path: Path) -> str:
    """Relative to the dataset where the path is inside it, else absolute."""
    return below(Path(os.path.abspath(path)), root)


def _copied(
    root: Path, originals: Originals, candidate: Candidate, *, dry_run: bool, link: bool
) -> Added:
    path = originals.place(candidate.name)
    if not dry_run:
        entry = {"source": candidate.label, "file": name_of(root, path)}
        more = {"sha256": sha256(candidate.path), "caption": bool(candidate.caption)}
        Journal(root / ".lorakit" / "added.jsonl").append({"when": now(), **entry, **more})
        try:
            if link:
                path.symlink_to(candidate.path.resolve())
            else:
                copy_file(candidate.path, path)
        except FileExistsError:  # somebody has put a file there since we looked
            return _copied(root, originals, candidate, dry_run=dry_run, link=link)
    originals.put(path, candidate.path if dry_run else path)
    # after a kill in between, the next run finds the image and adds its caption
    _late_caption(candidate, path, dry_run=dry_run)
    return Added(candidate.label, path, path.with_suffix(".txt") if candidate.caption else None)


def _late_caption(candidate: Candidate, twin: Path, *, dry_run: bool) -> None:
    """A caption that came after its image; one that is there already stays."""
    place = twin.with_suffix(".txt")
    if candidate.caption and not dry_run and not os.path.lexists(place):
        with suppress(FileExistsError):  # it came just now
            copy_file(candidate.caption, place)


def copy_file(source: Path, to: Path) -> None:
    """Complete or not at all, never over anything; times kept: photographers sort by them."""
    with into_place(to, new=True) as beside:
        shutil.copyfile(source, beside)
        status = source.stat()
        os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
        beside.chmod(0o644)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())


def subset_to_fill(
    root: Path, repeats: int | None, *, trigger: str = "", recipe: str = "", tag: str = ""
) -> SubsetPlan:
    """What is given, else the recipe's trigger, the first subset's, the folder's name."""
    known = read_arrangement(root).subsets
    first = next(iter(known.values()), None)
    trigger = trigger or recipe or (first.trigger if first else root.name)
    before = known.get(SubsetPlan(1, trigger, tag).tokens)
    if repeats is None:
        repeats = before.repeats if before else 10
    subset = SubsetPlan(repeats, trigger, tag)
    format_folder(subset.repeats, subset.tokens)  # refuses names that would not come back
    if subset.tokens.startswith(".") or not trigger:
        raise RecipeError(f"{trigger!r} cannot name a folder.", hint="Give --trigger.")
    return subset
