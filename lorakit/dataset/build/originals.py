"""Photos into originals/: copied whole or not at all, each once, with a journal. The sources are
never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lorakit.dataset.folder_names import FORBIDDEN
from lorakit.dataset.check.looks import Look, look
from lorakit.pictures.pool import WorkerDied, spread
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import FOREIGN
from lorakit.dataset.build.sources import Candidate, gather
from lorakit.errors import Fault
from lorakit.files import sha256, write_atomic

ORIGINALS = "originals"
MIN_SIDE = 64  # kohya's smallest bucket step: less cannot be trained on at all


@dataclass(frozen=True)
class Subset:
    """What lorakit knows about one folder of originals. Its folder is named by the class tokens
    alone: repeats may change.
    """

    repeats: int
    trigger: str
    tag: str = ""

    @property
    def tokens(self) -> str:
        return f"{self.trigger}_{self.tag}" if self.tag else self.trigger


@dataclass(frozen=True)
class Added:
    source: str
    path: Path
    caption: Path | None


@dataclass(frozen=True)
class Outcome:
    added: tuple[Added, ...]
    present: tuple[str, ...]  # there already, by content
    refused: tuple[Fault, ...]


def add(
    root: Path,
    subset: Subset,
    paths: Sequence[Path],
    *,
    min_side: int = MIN_SIDE,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Copy every good image that `paths` name into originals/<tokens>/; say of every other one why
    not.
    """
    folder = root / ORIGINALS / subset.tokens
    with tempfile.TemporaryDirectory(prefix="lorakit-add-") as incoming:
        candidates, refused = gather(paths, Path(incoming), skip=(root / ORIGINALS).resolve())
        looks: dict[Path, Look | WorkerDied] = {}
        for path, result in spread(look, [candidate.path for candidate in candidates]):
            looks[path] = result
            progress(len(looks), len(candidates))
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(root / ORIGINALS)
            remember_subset(root, subset)
        shelf = _Shelf(root, folder)
        added: list[Added] = []
        present: list[str] = []
        for candidate in candidates:
            problem = _problem(candidate, looks[candidate.path], min_side)
            twin = None if problem else shelf.twin(candidate.path)
            if problem:
                refused.append(problem)
            elif twin is None:
                added.append(_copied(root, shelf, candidate, dry_run=dry_run))
            elif twin.parent == folder and twin not in shelf.fresh:
                present.append(candidate.label)
            else:
                what = f"is the same picture as {shown(twin.relative_to(root))}."
                refused.append(Fault(candidate.label, what, rule="duplicate", severity="warning"))
            if twin is not None and twin.parent == folder:
                _late_caption(candidate, twin, dry_run=dry_run)
    return Outcome(tuple(added), tuple(present), tuple(refused))


def _problem(candidate: Candidate, seen: Look | WorkerDied, min_side: int) -> Fault | None:
    if isinstance(seen, WorkerDied):
        return Fault(candidate.label, f"{seen}.", rule="undecodable")
    if seen.bomb:
        return Fault(candidate.label, f"{seen.problem}.", rule="bomb")
    if seen.problem:
        hint = (
            "Export it as JPEG."
            if candidate.path.suffix.lower() in FOREIGN and "JPEG" not in seen.problem
            else ""
        )
        return Fault(candidate.label, f"cannot be decoded: {seen.problem}.", hint, "undecodable")
    if min(seen.width, seen.height) < min_side:
        return Fault(
            candidate.label,
            f"is {seen.width}x{seen.height}; the shorter side must have {min_side} pixels.",
            rule="too-small",
        )
    return None


class _Shelf:
    """What lies in originals/: found again by content, and which names are free."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.fresh: set[Path] = set()
        self._by_size: dict[int, list[Path]] = defaultdict(list)
        self._hashes: dict[Path, str] = {}
        for path in sorted((root / ORIGINALS).glob("*/*")):
            if path.is_file() and not path.name.startswith("."):
                self._by_size[path.stat().st_size].append(path)
        self._stems = (
            {path.stem.casefold() for path in folder.iterdir()} if folder.is_dir() else set()
        )

    def twin(self, path: Path) -> Path | None:
        """A file of the same bytes; only files of the same size are read."""
        same_size = self._by_size.get(path.stat().st_size, [])
        if not same_size:
            return None
        digest = sha256(path)
        own = [known for known in same_size if self._hash(known) == digest]
        return min(own, key=lambda known: known.parent != self.folder) if own else None

    def place(self, name: str) -> Path:
        """A free name: two images never share a stem, because they would share a caption."""
        stem, suffix = os.path.splitext(clean_name(name))
        stem, number = stem or "image", 1
        free = stem
        while free.casefold() in self._stems:
            number += 1
            free = f"{stem}-{number}"
        self._stems.add(free.casefold())
        return self.folder / f"{free}{suffix.lower()}"

    def put(self, path: Path, bytes_at: Path) -> None:
        """`bytes_at` differs from `path` in a dry run, where nothing has been copied."""
        self.fresh.add(path)
        self._by_size[bytes_at.stat().st_size].append(path)
        self._hashes[path] = sha256(bytes_at)

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = sha256(path)
        return self._hashes[path]


def clean_name(name: str) -> str:
    """A name that every system takes and no terminal chokes on."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    text = "".join("_" if c in FORBIDDEN or not c.isprintable() else c for c in text).strip(" .")
    stem, suffix = os.path.splitext(text)
    while len(stem.encode()) > 180:
        stem = stem[:-1]
    return stem + suffix


def _copied(root: Path, shelf: _Shelf, candidate: Candidate, *, dry_run: bool) -> Added:
    path = shelf.place(candidate.name)
    caption = path.with_suffix(".txt") if candidate.caption else None
    if not dry_run:
        _journal(
            root,
            {
                "source": candidate.label,
                "file": path.relative_to(root).as_posix(),
                "sha256": sha256(candidate.path),
                "caption": bool(caption),
            },
        )
        copy_whole(candidate.path, path)
        if caption and candidate.caption:
            # after a kill in between, the next run finds the image and adds its caption
            copy_whole(candidate.caption, caption)
    shelf.put(path, candidate.path if dry_run else path)
    return Added(candidate.label, path, caption)


def _late_caption(candidate: Candidate, twin: Path, *, dry_run: bool) -> None:
    """A caption that came after its image; one that is there already stays."""
    if candidate.caption and not dry_run and not twin.with_suffix(".txt").exists():
        copy_whole(candidate.caption, twin.with_suffix(".txt"))


def copy_whole(source: Path, to: Path) -> None:
    """Beside, flushed, then into place; times kept, because photographers sort by them."""
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=".adding.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file, source.open("rb") as bytes_in:
            shutil.copyfileobj(bytes_in, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        status = source.stat()
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.chmod(name, 0o644)
        os.replace(name, to)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sweep(originals: Path) -> None:
    """Half copies of a run that was killed; nobody else writes such names."""
    for path in originals.glob("*/.adding.*.tmp"):
        with suppress(OSError):
            path.unlink()


def _journal(root: Path, entry: dict[str, Any]) -> None:
    path = root / ".lorakit" / "added.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(
        {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), **entry},
        ensure_ascii=True,
    )
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def subsets_path(root: Path) -> Path:
    return root / ".lorakit" / "subsets.json"


def read_subsets(root: Path) -> dict[str, Subset]:
    """By class tokens, which are also the names of the folders of originals."""
    try:
        data = json.loads(subsets_path(root).read_text(encoding="utf-8"))
        return {name: Subset(**entry) for name, entry in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember_subset(root: Path, *subsets: Subset, forget: Iterable[str] = ()) -> None:
    known = read_subsets(root)
    wanted = {name: entry for name, entry in known.items() if name not in set(forget)} | {
        subset.tokens: subset for subset in subsets
    }
    if wanted != known:
        write_atomic(
            subsets_path(root),
            json.dumps({name: asdict(entry) for name, entry in sorted(wanted.items())}, indent=1)
            + "\n",
        )
