"""Hash again, and name every difference: are the files here what the run, or the lock, says? And
may a run go on? Only from what it began with; else it becomes another training.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lorakit.dataset.facts import Stated
from lorakit.dataset.scan import scan
from lorakit.errors import Fault, RecipeError, counted
from lorakit.families import FAMILIES
from lorakit.proof.compare import Difference, differences
from lorakit.proof.lock import DECISIVE, compare_locks, lock_of_all, read_lock
from lorakit.runs.find import run_name
from lorakit.runs.images import LIST, ImageRow, read_images
from lorakit.runs.opening import plans_now
from lorakit.runs.record import NAME, WAITING, Record, SavedCheckpoint, read_record
from lorakit.trainers.checkout import packages_of
from lorakit.trainers.table import trainer
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


def require_same_inputs(run_dir: Path, anyway: bool = False) -> list[str]:
    """What is not as the run began with, for its record. Raises for it, unless `anyway`."""
    record = _with_known_hashes(run_dir, read_record(run_dir))
    found = [*verify_inputs(run_dir, record), *_new_images(run_dir, record), *_code(record)]
    if found and not anyway:
        name = run_name(run_dir)
        raise RecipeError(
            f"{counted(len(found), 'difference')} from what {name} began with; nothing was"
            " started.",
            faults=[Fault(name, f"{one}.", rule="inputs") for one in found],
            hint=(
                "Restore the old inputs, or go on with these, which the record will say: lorakit"
                f" resume {name} --anyway"
            ),
        )
    return [*map(str, found), *_circumstances(record), *_unknown(run_dir, record)]


def _with_known_hashes(run_dir: Path, record: Record) -> Record:
    """A waiting stage's weights have no hashes yet; the stages before it read the same ones."""
    above = read_record(run_dir.parent).weights if (run_dir.parent / NAME).is_file() else ()
    known = {one.path: one.sha256 for one in above}
    weights = (replace(one, sha256=one.sha256 or known.get(one.path)) for one in record.weights)
    return replace(record, weights=tuple(weights))


def _new_images(run_dir: Path, record: Record) -> Iterator[Difference]:
    """Those that have come since, in the subsets' folders, by the scan that the plan used."""
    images = read_images(run_dir)
    if images is None:
        return
    known = {Path(record.dataset.root) / row.image for row in images}
    subsets = {one.path for one in record.dataset.subsets}
    stated = {
        Path(one.path).name: Stated(one.repeats, one.class_tokens or "")
        for one in record.dataset.subsets
    }
    films = FAMILIES[record.family].films
    for folder in sorted({Path(path).parent for path in subsets}):
        for subset in scan(folder, films=films, stated=stated).subsets:
            if str(subset.path) in subsets:
                for image in subset.images:
                    if image.path not in known:
                        place = f"{subset.path.name}/{image.path.name}"
                        yield Difference(f"dataset {place}", None, "image")


def _code(record: Record) -> Iterator[Difference]:
    """The trainer's own."""
    used = record.trainer
    script = Path(used.script or "")
    change = trainer(used.name).changed_since(script, used.commit or "", record.lorakit)
    if change:
        yield Difference(*change)


def _circumstances(record: Record) -> list[str]:
    """Packages that may change bytes; an environment that is gone is the launch's to report."""

    def decisive(packages: Mapping[str, str]) -> dict[str, str]:
        return {name: version for name, version in packages.items() if name in DECISIVE}

    now = decisive(packages_of(Path(record.trainer.python)))
    before = decisive(record.trainer.packages)
    return [f"package {one}" for one in differences(before, now)] if now else []


def _unknown(run_dir: Path, record: Record) -> list[str]:
    """What the run ended too early to write down."""
    unknown = [f"weights {Path(one.path).name}" for one in record.weights if not one.sha256]
    if not (run_dir / LIST).is_file():
        unknown.append("the dataset")
    if record.state == WAITING or not unknown:
        return []
    return [
        "whether it is still the same is not known, for the run ended before it was hashed:"
        f" {', '.join(unknown)}"
    ]
