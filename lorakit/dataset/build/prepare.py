"""Originals into N_trigger folders: only what changed, never over an edit of yours."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.dataset.build.fit import essential, render
from lorakit.dataset.build.jobs import FitJob
from lorakit.dataset.build.manifest import FOLDER, MadeFile, Manifest
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
    entry: MadeFile
    faceless: bool


@dataclass(frozen=True)
class PrepareOutcome:
    made: Sequence[Path]
    unchanged: Sequence[Path]
    kept: Sequence[Fault]  # edited by you, or not ours
    refused: Sequence[Fault]
    notes: Sequence[Fault]


def prepare(
    root: Path,
    jobs: Sequence[FitJob],
    *,
    force: bool = False,
    again: bool = False,
    dry_run: bool = False,
    caption_extension: str = ".txt",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> PrepareOutcome:
    """`again`: also what somebody has deleted by hand since it was made."""
    manifest = Manifest(root)
    if not dry_run and manifest.journal.path.exists():
        manifest.close()  # what a killed run has left
    gone = set() if again else {*deleted(root, jobs)}
    states = {job: _state(manifest, job, gone=job in gone, force=force) for job in jobs}
    todo = [job for job, state in states.items() if state is False]
    unchanged = [job for job, state in states.items() if state is True]
    kept = [state for state in states.values() if isinstance(state, Fault)]
    same = [job.target for job in unchanged]
    notes = [*_orphans(manifest, jobs)]
    if dry_run:
        return PrepareOutcome([job.target for job in todo], same, kept, [], notes)
    for job in jobs:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    for job in unchanged:
        notes += _carry_caption(manifest, job, caption_extension)
    made: list[Path] = []
    refused: list[Fault] = []
    try:
        # no worker writes any more when the place is swept
        with closing(spread(make, todo)) as results:
            for job, result in results:
                if not isinstance(result, Made):
                    what = f"{result}.".replace("..", ".")
                    refused.append(Fault(shown(job.source), what, rule="undecodable"))
                elif isinstance(now := _state(manifest, job, gone=False, force=force), Fault):
                    kept.append(now)  # since we looked
                else:
                    notes += _placed(manifest, job, result, caption_extension, force=force)
                    made.append(job.target)
                progress(len(made) + len(refused), len(todo))
    finally:
        sweep(temporary_in(root), own=True)
        manifest.close()
    return PrepareOutcome(made, same, kept, refused, notes)


def _state(manifest: Manifest, job: FitJob, *, gone: bool, force: bool) -> bool | Fault:
    """True: nothing to do. A fault: somebody's own doing stays. False: to be made."""
    if gone:
        hint = f"lorakit dataset drop {shown(job.name)} makes that plain; --again brings it back."
        return _warning(job.name, "was deleted by hand; left out.", hint, "deleted")
    if not os.path.lexists(job.target):
        return False
    entry = manifest.entry_of(job.name, job.original)
    if entry is None or not job.target.exists():  # a link that leads nowhere
        what = "was not made by lorakit; left as it is."
        hint = "Move it out of the dataset to have it made from the original."
        return _warning(job.name, what, hint, "edited")
    if not job.source.exists():
        what = f"leads to {shown(os.path.realpath(job.source))}, which cannot be reached."
        return _warning(job.original, what, "What was made of it before stays.", "broken-link")
    if manifest.edited(entry):
        what = "was edited since lorakit made it; left as it is."
        return False if force else _warning(job.name, what, "--force makes it again.", "edited")
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
    return [job for job in jobs if job.original in out - here]


def refitted(root: Path, jobs: Iterable[FitJob]) -> list[tuple[FitJob, dict[str, Any]]]:
    """Pictures that other settings for all would make anew, with the settings they have."""

    def of_all(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in essential(settings).items() if key != "crop"}

    entries = Manifest(root).entries.values()
    made = {entry.source: entry for entry in entries if (root / entry.file).exists()}
    pairs = ((job, made.get(job.original)) for job in jobs)
    return [
        (job, before)
        for job, entry in pairs
        if entry and (before := of_all(entry.settings)) != of_all(job.settings.as_data())
    ]


def _warning(where: Path | str, what: str, hint: str, rule: str) -> Fault:
    return Fault(shown(where), what, hint, rule, "warning")


def _orphans(manifest: Manifest, jobs: Iterable[FitJob]) -> Iterator[Fault]:
    """Prepared files whose original is gone: still trained on, so somebody should decide."""
    current = {name for job in jobs for name in (job.name, job.original)}
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
        stamp, source_sha = stamp_of(job.source), sha256(job.source)
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
    entry = MadeFile(
        file=job.name,
        source=job.original,
        source_sha=source_sha,
        source_stamp=stamp,
        settings=job.settings.as_data(),
        sha=hashlib.sha256(done.data).hexdigest(),
        stamp=stamp_of(beside),
        **vars(done.geometry),
    )
    return Made(beside, entry, done.faceless)


def _placed(
    manifest: Manifest, job: FitJob, result: Made, caption_extension: str, *, force: bool
) -> list[Fault]:
    """Journal, move, caption; then away with what it was made as under another name."""
    entry, old = result.entry, manifest.entries.get(job.name)
    before = sha256(job.target) if job.target.exists() else ""
    caption = old.caption_sha if old else ""
    manifest.note(replace(entry, caption_sha=caption, replaces=before))
    (os.replace if before else take_name)(result.temporary, job.target)
    notes = _carry_caption(manifest, job, caption_extension)
    if result.faceless:
        what = "no face was found in it; cut around the centre."
        notes.append(_warning(job.source, what, "Look at it, or crop it by hand.", "faceless"))
    entries = list(manifest.entries.values())
    for other in (one for one in entries if one.source == entry.source and one.file != entry.file):
        path = job.root / other.file
        if path.parent != job.target.parent or not path.exists():
            continue
        if force or not manifest.edited(other):
            path.unlink()  # lorakit made it, nobody has touched it, and its successor is there
            manifest.entries.pop(other.file)
        else:
            what = "was edited and stays beside the new file."
            notes.append(_warning(other.file, what, "Remove one of the two.", "edited"))
    return notes


def _carry_caption(manifest: Manifest, job: FitJob, suffix: str) -> list[Fault]:
    """In UTF-8, with the subset's tag; a caption that somebody wrote or changed stays."""
    source = caption_beside(job.source)
    if source is None:
        return []
    try:
        words = read_words(source) or Words("")
    except Unreadable as error:
        return [_warning(source, error.why, "Write it again.", "caption-unreadable")]
    notes = []
    if words.encoding == "cp1252":
        what, hint = "is not UTF-8; read as Windows text.", "Look at the prepared caption."
        notes = [_warning(source, what, hint, "caption-encoding")]
    tidy = (" ".join(line.split()) for line in words.text.replace("\0", "").split("\n"))
    text = "\n".join(filter(None, tidy))
    if not text:
        return notes
    if job.subset.tag:
        text = captions.add(job.subset.tag, after_trigger=job.subset.trigger)(text)
    data = (text + "\n").encode()
    digest = hashlib.sha256(data).hexdigest()
    entry = manifest.entries[job.name]
    target = job.target.with_suffix(suffix)
    there = sha256(target) if target.exists() else None
    if there == digest or (there and there != entry.caption_sha):
        return notes  # the same, or somebody's own words
    manifest.note(replace(entry, caption_sha=digest))
    with suppress(FileExistsError):  # somebody's own words, come just now
        (write_atomic if there else write_new)(target, data)
    return notes
