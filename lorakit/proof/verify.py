"""Hash again, and name every difference: is what lies here what the run, or the lock, says it is?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.plan.make import make_plans
from lorakit.proof.compare import Difference
from lorakit.proof.lock import compare_locks, lock_of_all, read_lock
from lorakit.recipe.resolve import resolve
from lorakit.runs.find import PARENT, WAITING
from lorakit.runs.record import read_record
from lorakit.weights.finite import inspect
from lorakit.weights.hashes import files_of, path_digest, sha256_of_all


def verify_run(run_dir: Path) -> list[Difference]:
    """Everything the record carries a hash of: run files, weights, dataset, checkpoints."""
    record = read_record(run_dir)
    if record.get(PARENT):
        folders = [
            str(entry["folder"]) for entry in record[PARENT] if entry.get("state") != WAITING
        ]
        return [
            replace(one, key=f"{folder}: {one.key}")
            for folder in folders
            for one in verify_run(run_dir / folder)
        ]
    rows = _rows(run_dir)
    now = sha256_of_all(
        _paths(run_dir, record, rows or [])
    )  # all at once: the cores are shared best among many files
    return [
        *_run_files(run_dir, record),
        *_weights(record),
        *_dataset(record, rows, now),
        *_checkpoints(run_dir, record, now),
    ]


def verify_inputs(run_dir: Path, record: Mapping[str, Any]) -> list[Difference]:
    """Its settings, weights, images and captions: what it would read again. What was never hashed
    is passed over.
    """
    record = {
        **record,
        "weights": [entry for entry in record["weights"] if entry.get("sha256")],
        "checkpoints": [],
    }
    rows = _rows(run_dir) or []
    now = sha256_of_all(_paths(run_dir, record, rows))
    return [*_run_files(run_dir, record), *_weights(record), *_dataset(record, rows, now)]


def verify_lock(path: Path) -> tuple[list[Difference], list[Difference]]:
    """The recipe planned again against its lock: differences in inputs, and in circumstances."""
    locked = read_lock(path)
    recipe = path.with_name(path.name.removesuffix(".lock.toml") + ".toml")
    resolved, faults = resolve(recipe)
    plans = make_plans(resolved, faults, run_dir=resolved.root / "runs" / "verify")
    sha256_of_all(
        file for weight in plans[0].weights for file in files_of(weight.path)
    )  # together, before each is asked for
    now = lock_of_all(plans)
    return compare_locks(locked, now)


def _run_files(run_dir: Path, record: Mapping[str, Any]) -> Iterator[Difference]:
    for name, digest in sorted(record.get("files", {}).items()):
        path = run_dir / name
        now = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if now != digest:
            yield Difference(name, digest, now)


def _weights(record: Mapping[str, Any]) -> Iterator[Difference]:
    for entry in record["weights"]:
        path = Path(str(entry.get("path", "")))
        if not entry.get("sha256"):
            yield Difference(
                f"weights {path.name}",
                "no hash in the record: the run ended before it was known",
                None,
            )
            continue
        now = path_digest(path)[0] if path.exists() else None
        if now != entry["sha256"]:
            yield Difference(f"weights {path}", entry["sha256"], now)


def _rows(run_dir: Path) -> list[dict[str, Any]] | None:
    """The images as the run's list has them; None where the run ended before it was written."""
    listed = run_dir / "dataset.json"
    try:
        return [
            {
                "image": str(row["image"]),
                "sha256": row["sha256"],
                "caption_sha256": row.get("caption_sha256"),
            }
            for row in json.loads(listed.read_text(encoding="utf-8"))
        ]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LorakitError(
            f"{listed}: not a list of images any more ({error}). Was it edited by hand?"
        ) from error


def _paths(
    run_dir: Path, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Iterator[Path]:
    for entry in record["weights"]:
        if entry.get("sha256"):
            yield from files_of(Path(str(entry.get("path", ""))))
    for row in rows:
        yield from _image(record, row)
    yield from (
        run_dir / str(entry.get("path", "")) for entry in record["checkpoints"] if _counts(entry)
    )


def _image(record: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Path, Path]:
    """The image and its caption."""
    extension = str(
        record["settings"].get("train", {}).get("caption_extension", {}).get("value", ".txt")
    )
    image = Path(str(record["dataset"].get("root", ""))) / str(row["image"])
    return image, image.with_suffix(extension)


def _counts(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("sha256")) and not entry.get("removed")


def _dataset(
    record: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]] | None,
    now: Mapping[Path, str | None],
) -> Iterator[Difference]:
    if rows is None:
        yield Difference("dataset", "no dataset.json: the run ended before it was written", None)
    for row in rows or ():
        image, caption = _image(record, row)
        if now[image] != row["sha256"]:
            yield Difference(f"dataset {row['image']}", row["sha256"], now[image])
        if now[caption] != row["caption_sha256"]:
            yield Difference(
                f"dataset {row['image']} (caption)", row["caption_sha256"], now[caption]
            )


def _checkpoints(
    run_dir: Path, record: Mapping[str, Any], now: Mapping[Path, str | None]
) -> Iterator[Difference]:
    for entry in filter(_counts, record["checkpoints"]):
        path = run_dir / str(entry.get("path", ""))
        if not path.is_file():
            yield Difference(str(entry["path"]), entry["sha256"], None)
            continue
        if now[path] == entry["sha256"]:
            continue
        found = inspect(path)
        same_tensors = entry.get("tensors_sha256") == found.tensors_sha256
        yield Difference(
            str(entry["path"])
            + (" (metadata only; the tensors are the same)" if same_tensors else ""),
            entry["sha256"],
            now[path],
        )
