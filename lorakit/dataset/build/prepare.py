"""Originals into N_trigger folders: only what changed, never over an edit of yours, and complete
files or none, whatever happens.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.dataset.build.fit import Geometry, essential, render
from lorakit.dataset.build.jobs import FitJob
from lorakit.dataset.build.manifest import FOLDER, MadeFile, Manifest
from lorakit.dataset.build.originals import name_of
from lorakit.dataset.captions import edit as captions
from lorakit.dataset.captions.read import Words, caption_beside, read_words
from lorakit.dataset.lock import temporary_in
from lorakit.dataset.rules import shown
from lorakit.errors import Fault
from lorakit.files import hidden_file, sha256, sweep, take_name, write_atomic, write_new
from lorakit.memo import stamp_of
from lorakit.pictures.open import RefusedError, why
from lorakit.pictures.pool import spread
from lorakit.user_files import Unreadable


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
class PrepareOutcome:
    made: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    kept: tuple[Fault, ...]  # edited by you, or not ours
    refused: tuple[Fault, ...]
    notes: tuple[Fault, ...]


def prepare(
    root: Path,
    jobs: Sequence[FitJob],
    *,
    force: bool = False,
    again: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    caption_extension: str = ".txt",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> PrepareOutcome:
    """`again`: also what somebody has deleted by hand since it was made."""
    manifest = Manifest(root)
    if not dry_run and manifest.journal.path.exists():
        manifest.close()  # what a killed run has left
    gone = set() if again else {*deleted(root, jobs)}
    states = {
        job: _deleted(job) if job in gone else _state(manifest, job, force=force) for job in jobs
    }
    todo = [job for job, state in states.items() if state is False]
    unchanged = [job for job, state in states.items() if state is True]
    kept = [state for state in states.values() if isinstance(state, Fault)]
    same = tuple(job.target for job in unchanged)
    notes = [*_orphans(manifest, jobs)]
    if dry_run:
        return PrepareOutcome(
            tuple(job.target for job in todo), same, tuple(kept), (), tuple(notes)
        )
    for job in jobs:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    for job in unchanged:
        notes += _carry_caption(manifest, job, caption_extension)
    made: list[Path] = []
    refused: list[Fault] = []
    try:
        # no worker writes any more when the place is swept
        with closing(spread(make, todo, workers=workers)) as results:
            for job, result in results:
                if not isinstance(result, Made):
                    what = f"{result}.".replace("..", ".")
                    refused.append(Fault(shown(job.source), what, rule="undecodable"))
                elif _is_taken(manifest, job, force=force):  # since we looked
                    kept.append(_not_ours(job))
                else:
                    notes += _placed(manifest, job, result, caption_extension, force=force)
                    made.append(job.target)
                progress(len(made) + len(refused), len(todo))
    finally:
        sweep(temporary_in(root), own=True)
        manifest.close()
    return PrepareOutcome(tuple(made), same, tuple(kept), tuple(refused), tuple(notes))


def _state(manifest: Manifest, job: FitJob, *, force: bool) -> bool | Fault:
    """True: nothing to do. A fault: somebody's own file is there. False: to be made."""
    if not job.target.exists():
        return False
    name = name_of(job.root, job.target)
    entry = manifest.entry_of(name, name_of(job.root, job.source))
    if entry is None:
        return _not_ours(job)
    if not job.source.exists():
        what = f"leads to {shown(os.path.realpath(job.source))}, which cannot be reached."
        source = name_of(job.root, job.source)
        return _warning(source, what, "What was made of it before stays.", "broken-link")
    if manifest.edited(entry):
        what = "was edited since lorakit made it; left as it is."
        return False if force else _warning(name, what, "--force makes it again.", "edited")
    return (
        (stamp_of(job.source) == entry.source_stamp or sha256(job.source) == entry.source_sha)
        and (stamp_of(job.target) == entry.stamp or sha256(job.target) == entry.sha)
        and essential(entry.settings) == essential(job.settings.as_data())
    )


def deleted(root: Path, jobs: Iterable[FitJob]) -> list[FitJob]:
    """Pictures that were made once, and that somebody has taken out of their folder."""
    manifest, here, out = Manifest(root), set[str](), set[str]()
    for entry in manifest.entries.values():
        (out if manifest.taken_out(entry) else here).add(entry.source)
    return [job for job in jobs if name_of(root, job.source) in out - here]


def refitted(root: Path, jobs: Iterable[FitJob]) -> list[tuple[FitJob, dict[str, Any]]]:
    """Pictures that are there and would be made anew because of other settings for all, with
    the settings that they have. A box of one picture does not count.
    """

    def of_all(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in essential(settings).items() if key != "crop"}

    entries = Manifest(root).entries.values()
    made = {entry.source: entry for entry in entries if (root / entry.file).exists()}
    pairs = ((job, made.get(name_of(root, job.source))) for job in jobs)
    return [
        (job, before)
        for job, entry in pairs
        if entry and (before := of_all(entry.settings)) != of_all(job.settings.as_data())
    ]


def _deleted(job: FitJob) -> Fault:
    name = name_of(job.root, job.target)
    hint = f"lorakit dataset drop {shown(name)} makes that plain; --again brings it back."
    return _warning(name, "was deleted by hand; left out.", hint, "deleted")


def _not_ours(job: FitJob) -> Fault:
    what = "was not made by lorakit; left as it is."
    hint = "Move it out of the dataset to have it made from the original."
    return _warning(name_of(job.root, job.target), what, hint, "edited")


def _is_taken(manifest: Manifest, job: FitJob, *, force: bool) -> bool:
    """Whether what is in the job's place must stay."""
    if not os.path.lexists(job.target):
        return False
    entry = manifest.entries.get(name_of(job.root, job.target))
    linked_away = not job.target.exists()
    return entry is None or linked_away or (not force and manifest.edited(entry))


def _warning(where: Path | str, what: str, hint: str, rule: str) -> Fault:
    return Fault(shown(where), what, hint, rule, "warning")


def _orphans(manifest: Manifest, jobs: Iterable[FitJob]) -> Iterator[Fault]:
    """Prepared files whose original is gone: still trained on, so somebody should decide."""
    current = {name_of(job.root, path) for job in jobs for path in (job.target, job.source)}
    for name, entry in manifest.entries.items():
        gone = entry.source not in current and not (manifest.root / entry.source).exists()
        if gone and name not in current and (manifest.root / name).exists():
            what = f"its original {shown(entry.source)} is gone."
            yield _warning(name, what, "Remove it if it should not be trained on.", "orphan")


def make(job: FitJob) -> Made | str:
    """In a worker: render, and write beside the place. Says what is wrong instead of raising."""
    if not job.source.is_file():  # a broken link, a folder, a pipe that would wait for ever
        return "is not a file that can be read"
    try:
        stamp = stamp_of(job.source)
        source_sha = sha256(job.source)
        done = render(job.source, job.settings)
        thumbs = job.root / FOLDER / "thumbs"
        thumbs.mkdir(parents=True, exist_ok=True)
        (thumbs / f"{source_sha[:24]}.jpg").write_bytes(done.thumb)
        beside = hidden_file(job.target)
        with beside.open("wb") as file:
            file.write(done.data)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
    except RefusedError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (a broken file may raise anything in a decoder)
        return f"cannot be decoded: {why(error)}"
    return Made(
        beside,
        hashlib.sha256(done.data).hexdigest(),
        source_sha,
        stamp,
        done.geometry,
        done.faceless,
    )


def _placed(
    manifest: Manifest, job: FitJob, result: Made, caption_extension: str, *, force: bool
) -> list[Fault]:
    """Journal, move, caption; then remove what the same original was prepared as under another
    name.
    """
    root, name, source = job.root, name_of(job.root, job.target), name_of(job.root, job.source)
    geometry = result.geometry
    old = manifest.entries.get(name)
    manifest.note(
        MadeFile(
            file=name,
            source=source,
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
            replaces=sha256(job.target) if job.target.exists() else "",
        )
    )
    (os.replace if job.target.exists() else take_name)(result.temporary, job.target)
    notes = _carry_caption(manifest, job, caption_extension)
    if result.faceless:
        what = "no face was found in it; cut around the centre."
        notes.append(_warning(job.source, what, "Look at it, or crop it by hand.", "faceless"))
    for other in [e for e in manifest.entries.values() if e.source == source and e.file != name]:
        path = root / other.file
        if path.parent != job.target.parent or not path.exists():
            continue
        if force or not manifest.edited(other):
            path.unlink()  # lorakit made it, nobody has touched it, and its successor is there
            manifest.forget(other.file)
        else:
            what = "was edited and stays beside the new file."
            notes.append(_warning(other.file, what, "Remove one of the two.", "edited"))
    return notes


def _carry_caption(manifest: Manifest, job: FitJob, suffix: str) -> list[Fault]:
    """The original's caption in UTF-8, with the subset's tag; a caption that somebody wrote or
    changed stays.
    """
    source = caption_beside(job.source)
    if source is None:
        return []
    text, notes = _caption_text(source)
    if not text:
        return notes
    if job.tag:
        text = captions.add(job.tag, after_trigger=job.trigger)(text)
    data = (text + "\n").encode()
    digest = hashlib.sha256(data).hexdigest()
    entry = manifest.entries[name_of(job.root, job.target)]
    target = job.target.with_suffix(suffix)
    there = sha256(target) if target.exists() else None
    if there == digest or (there and there != entry.caption_sha):
        return notes  # the same, or somebody's own words
    manifest.note(replace(entry, caption_sha=digest))
    with suppress(FileExistsError):  # somebody's own words, come just now
        (write_atomic if there else write_new)(target, data)
    return notes


def _caption_text(source: Path) -> tuple[str, list[Fault]]:
    """The words of a caption in whatever encoding; a guess is reported."""
    try:
        words = read_words(source) or Words("")
    except Unreadable as error:
        return "", [_warning(source, error.why, "Write it again.", "caption-unreadable")]
    tidy = (" ".join(line.split()) for line in words.text.replace("\0", "").split("\n"))
    notes = []
    if words.encoding == "cp1252":
        what, hint = "is not UTF-8; read as Windows text.", "Look at the prepared caption."
        notes = [_warning(source, what, hint, "caption-encoding")]
    return "\n".join(filter(None, tidy)), notes
