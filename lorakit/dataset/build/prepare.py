"""Originals into N_trigger folders: only what changed, never over a person's edit, whole files or
none, whatever happens.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit.dataset.build.fit import Geometry, render
from lorakit.dataset.build.jobs import Job
from lorakit.dataset.build.manifest import FOLDER, Entry, Manifest
from lorakit.dataset.build.originals import name_of
from lorakit.dataset.captions import edit as captions
from lorakit.dataset.captions.read import Words, caption_beside, read_words
from lorakit.dataset.rules import shown
from lorakit.errors import Fault
from lorakit.files import sha256, write_atomic
from lorakit.memo import stamp_of
from lorakit.pictures.open import RefusedError, why
from lorakit.pictures.pool import spread


@dataclass(frozen=True)
class Made:
    """What a worker has written beside its place."""

    temporary: Path
    sha: str
    source_sha: str
    source_stamp: tuple[int, ...]
    geometry: Geometry
    faceless: bool


@dataclass(frozen=True)
class Outcome:
    made: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    kept: tuple[Fault, ...]  # edited by a person, or not ours
    refused: tuple[Fault, ...]
    notes: tuple[Fault, ...]


def prepare(
    root: Path,
    jobs: Sequence[Job],
    *,
    force: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    caption_extension: str = ".txt",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    manifest = Manifest(root)
    if not dry_run:
        _sweep(root)
        if manifest.journal.path.exists():
            manifest.close()  # what a killed run has left
    todo: list[Job] = []
    unchanged: list[Path] = []
    kept: list[Fault] = []
    for job in jobs:
        state = _state(manifest, job, force=force)
        if isinstance(state, Fault):
            kept.append(state)
        elif state:
            unchanged.append(job.target)
        else:
            todo.append(job)
    notes = [*_orphans(manifest, jobs)]
    if dry_run:
        return Outcome(
            tuple(job.target for job in todo), tuple(unchanged), tuple(kept), (), tuple(notes)
        )
    for job in jobs:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        notes += _carry_caption(manifest, job, caption_extension) if job.target in unchanged else []
    made: list[Path] = []
    refused: list[Fault] = []
    try:
        # no worker writes any more when the place is swept
        with closing(spread(make, todo, workers=workers)) as results:
            for job, result in results:
                if isinstance(result, Made):
                    notes += _placed(manifest, job, result, caption_extension, force=force)
                    made.append(job.target)
                else:
                    refused.append(
                        Fault(
                            shown(job.source), f"{result}.".replace("..", "."), rule="undecodable"
                        )
                    )
                progress(len(made) + len(refused), len(todo))
    finally:
        _sweep(root)
        manifest.close()
    return Outcome(tuple(made), tuple(unchanged), tuple(kept), tuple(refused), tuple(notes))


def _state(manifest: Manifest, job: Job, *, force: bool) -> bool | Fault:
    """True: nothing to do. A fault: somebody's own file stands there. False: to be made."""
    if not job.target.exists():
        return False
    entry = manifest.entry_of(name_of(job.root, job.target), name_of(job.root, job.source))
    if entry is None:
        return False if force else _kept(job, "was not made by lorakit")
    if manifest.edited(entry):
        return False if force else _kept(job, "was edited since lorakit made it")
    same_source = (
        stamp_of(job.source) == entry.source_stamp or sha256(job.source) == entry.source_sha
    )
    standing = stamp_of(job.target) == entry.stamp or sha256(job.target) == entry.sha
    return same_source and standing and entry.settings == job.settings.as_data()


def _kept(job: Job, why: str) -> Fault:
    return Fault(
        shown(name_of(job.root, job.target)),
        f"{why}; left as it is.",
        "--force makes it anew.",
        "edited",
        "warning",
    )


def _orphans(manifest: Manifest, jobs: Iterable[Job]) -> Iterator[Fault]:
    """Prepared files whose original is gone: still trained on, so somebody should decide."""
    current = {name_of(job.root, job.target) for job in jobs}
    sources = {name_of(job.root, job.source) for job in jobs}
    for name, entry in manifest.entries.items():
        source = manifest.root / entry.source
        if (
            name not in current
            and entry.source not in sources
            and not source.exists()
            and (manifest.root / name).exists()
        ):
            yield Fault(
                shown(name),
                f"its original {shown(entry.source)} is gone.",
                "Remove it if it should not be trained on.",
                "orphan",
                "warning",
            )


def make(job: Job) -> Made | str:
    """In a worker: render, and write beside the place. Says what is wrong instead of raising."""
    if not job.source.is_file():  # a broken link, a folder, a pipe that would wait for ever
        return "is no file that can be read"
    try:
        stamp = stamp_of(job.source)
        source_sha = sha256(job.source)
        done = render(job.source, job.settings)
        thumbs = job.root / FOLDER / "thumbs"
        thumbs.mkdir(parents=True, exist_ok=True)
        (thumbs / f"{source_sha[:24]}.jpg").write_bytes(done.thumb)
        handle, name = tempfile.mkstemp(dir=job.target.parent, prefix=".preparing.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(done.data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except RefusedError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (a broken file may raise anything in a decoder)
        return f"cannot be decoded: {why(error)}"
    return Made(
        Path(name),
        hashlib.sha256(done.data).hexdigest(),
        source_sha,
        stamp,
        done.geometry,
        done.faceless,
    )


def _placed(
    manifest: Manifest, job: Job, result: Made, caption_extension: str, *, force: bool
) -> list[Fault]:
    """Journal, move, caption; then remove what the same original was prepared as under another
    name.
    """
    root, name = job.root, name_of(job.root, job.target)
    before = sha256(job.target) if job.target.exists() else ""
    geometry = result.geometry
    old = manifest.entries.get(name)
    manifest.note(
        Entry(
            file=name,
            source=name_of(root, job.source),
            source_sha=result.source_sha,
            source_stamp=result.source_stamp,
            settings=job.settings.as_data(),
            sha=result.sha,
            stamp=stamp_of(result.temporary),
            size=geometry.source,
            box=geometry.box,
            scaled=geometry.scaled,
            canvas=geometry.canvas,
            caption_sha=old.caption_sha if old else "",
            replaces=before,
        )
    )
    os.replace(result.temporary, job.target)
    notes = _carry_caption(manifest, job, caption_extension)
    if result.faceless:
        what = "no face was found in it; cut around the centre."
        notes.append(
            Fault(shown(job.source), what, "Look at it, or crop it by hand.", "faceless", "warning")
        )
    for other in [
        entry
        for entry in manifest.entries.values()
        if entry.source == name_of(root, job.source) and entry.file != name
    ]:
        path = root / other.file
        if path.parent == job.target.parent and path.exists():
            if force or not manifest.edited(other):
                # lorakit made it, nobody has touched it, and its successor stands beside it
                path.unlink()
                manifest.forget(other.file)
            else:
                notes.append(
                    Fault(
                        shown(other.file),
                        "was edited and stays beside the new file.",
                        "Remove one of the two.",
                        "edited",
                        "warning",
                    )
                )
    return notes


def _carry_caption(manifest: Manifest, job: Job, suffix: str) -> list[Fault]:
    """The original's caption in UTF-8, with the subset's tag; a caption that a person wrote or
    changed stays.
    """
    source = caption_beside(job.source)
    name = name_of(job.root, job.target)
    entry = manifest.entries[name]
    target = job.target.with_suffix(suffix)
    if source is None:
        return []
    text, notes = _caption_text(source)
    if not text:
        return notes
    if job.tag:
        text = captions.add(job.tag, after_trigger=job.trigger)(text)
    data = (text + "\n").encode()
    digest = hashlib.sha256(data).hexdigest()
    if target.exists():
        standing = sha256(target)
        if standing == digest:
            return notes
        if not entry.caption_sha or standing != entry.caption_sha:
            return notes  # somebody's own words
    manifest.note(replace(entry, caption_sha=digest))
    write_atomic(target, data)
    return notes


def _caption_text(source: Path) -> tuple[str, list[Fault]]:
    """The words of a caption in whatever encoding; a guess is reported."""
    words = read_words(source) or Words("")
    tidy = (" ".join(line.split()) for line in words.text.replace("\0", "").split("\n"))
    notes = []
    if words.encoding == "cp1252":
        what, hint = "is not UTF-8; read as Windows text.", "Look at the prepared caption."
        notes = [Fault(shown(source), what, hint, "caption-encoding", "warning")]
    return "\n".join(filter(None, tidy)), notes


def _sweep(root: Path) -> None:
    """What a killed run has left; nobody else writes such names."""
    for pattern in ("*/.preparing.*.tmp", "*/.*.txt.*.tmp", f"{FOLDER}/.*.tmp"):
        for path in root.glob(pattern):
            with suppress(OSError):
                path.unlink()
