"""Hash again, and name every difference: are the files here what the run, or the lock, says?"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lorakit.proof.compare import Difference
from lorakit.proof.lock import compare_locks, lock_of_all, read_lock
from lorakit.runs.images import ImageRow, read_images
from lorakit.runs.opening import plans_now
from lorakit.runs.record import WAITING, Record, SavedCheckpoint, read_record
from lorakit.weights.finite import inspect
from lorakit.weights.hashes import files_of, path_digest, sha256_of_all

Hashes = Mapping[Path, str | None]


def verify_run(run_dir: Path, *, quick: bool = False) -> list[Difference]:
    """Everything the record has a hash of. `quick` reads nothing again that looks unchanged."""
    record = read_record(run_dir)
    if record.stages:
        return [
            replace(one, key=f"{stage.folder}: {one.key}")
            for stage in record.stages
            if stage.state != WAITING
            for one in verify_run(run_dir / stage.folder, quick=quick)
        ]
    images = read_images(run_dir)
    checkpoints = [one for one in record.checkpoints if one.sha256 and not one.removed]
    # All at once: the cores are shared best among many files.
    paths = [*_inputs(record, images), *(run_dir / one.path for one in checkpoints)]
    now = sha256_of_all(paths, anew=not quick)
    return [
        *_run_files(run_dir, record),
        *_weights(record),
        *_dataset(record, images, now),
        *_checkpoints(run_dir, checkpoints, now),
    ]


def verify_inputs(run_dir: Path, record: Record) -> list[Difference]:
    """Its settings, weights, images and captions, every byte; what was never hashed is not."""
    record = replace(record, weights=tuple(one for one in record.weights if one.sha256))
    images = read_images(run_dir) or []
    now = sha256_of_all(_inputs(record, images), anew=True)
    return [*_run_files(run_dir, record), *_weights(record), *_dataset(record, images, now)]


def verify_lock(path: Path, *, quick: bool = False) -> tuple[list[Difference], list[Difference]]:
    """The recipe planned again against its lock: differences in inputs, and in circumstances."""
    locked = read_lock(path)
    recipe = path.with_name(path.name.removesuffix(".lock.toml") + ".toml")
    said = {key: locked.get(key, ()) for key in ("sets", "unsets")}
    return compare_locks(locked, lock_of_all(plans_now(recipe, **said), quick=quick))


def _run_files(run_dir: Path, record: Record) -> Iterator[Difference]:
    for name, digest in sorted(record.files.items()):
        path = run_dir / name
        now = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if now != digest:
            yield Difference(name, digest, now)


def _weights(record: Record) -> Iterator[Difference]:
    for one in record.weights:
        path = Path(one.path)
        if not one.sha256:
            note = "its hash is not in the record, for the run ended before it was computed"
            yield Difference(f"weights {path.name}", note=note)
            continue
        now = path_digest(path)[0] if path.exists() else None
        if now != one.sha256:
            yield Difference(f"weights {path}", one.sha256, now)


def _inputs(record: Record, images: Sequence[ImageRow] | None) -> Iterator[Path]:
    for one in record.weights:
        if one.sha256:
            yield from files_of(Path(one.path))
    for row in images or ():
        yield from _image(record, row)
        yield from (Path(record.dataset.root) / one.image for one in row.controls)


def _image(record: Record, row: ImageRow) -> tuple[Path, Path]:
    """The image and its caption."""
    image = Path(record.dataset.root) / row.image
    if row.caption_file:
        return image, Path(row.caption_file)
    return image, image.with_suffix(str(record.value("caption_extension") or ".txt"))


def _dataset(
    record: Record, images: Sequence[ImageRow] | None, now: Hashes
) -> Iterator[Difference]:
    if images is None:
        note = "there is no dataset.json, for the run ended before it was written"
        yield Difference("dataset", note=note)
    for row in images or ():
        image, caption = _image(record, row)
        if now[image] != row.sha256:
            yield Difference(f"dataset {row.image}", row.sha256, now[image])
        if now[caption] != row.caption_sha256:
            yield Difference(f"dataset {row.image} (caption)", row.caption_sha256, now[caption])
        for one in row.controls:
            if (seen := now[Path(record.dataset.root) / one.image]) != one.sha256:
                yield Difference(f"dataset {row.image} (control {one.image})", one.sha256, seen)


def _checkpoints(
    run_dir: Path, checkpoints: Sequence[SavedCheckpoint], now: Hashes
) -> Iterator[Difference]:
    for one in checkpoints:
        path = run_dir / one.path
        if now[path] == one.sha256:
            continue
        same = path.is_file() and one.tensors_sha256 == inspect(path).tensors_sha256
        remark = " (metadata only; the tensors are the same)" if same else ""
        yield Difference(f"{one.path}{remark}", one.sha256, now[path])
