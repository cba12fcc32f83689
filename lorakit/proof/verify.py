"""Hash again, and name every difference: is what lies here what the run, or the lock, says it is?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.plan.make import make_plans
from lorakit.proof.compare import Difference
from lorakit.proof.lock import compare_locks, lock_of_all, read_lock
from lorakit.recipe.resolve import resolve
from lorakit.run.find import PARENT, WAITING
from lorakit.run.hashes import path_digest, sha256_of_all
from lorakit.run.record import read_record
from lorakit.run.weights import inspect


def verify_run(run_dir: Path) -> list[Difference]:
    """Everything the record carries a hash of: run files, weights, dataset, checkpoints."""
    record = read_record(run_dir)
    if record.get(PARENT):
        folders = [str(entry["folder"]) for entry in record[PARENT] if entry.get("state") != WAITING]
        return [replace(one, key=f"{folder}: {one.key}") for folder in folders for one in verify_run(run_dir / folder)]
    return [*_run_files(run_dir, record), *_weights(record), *_dataset(run_dir, record), *_checkpoints(run_dir, record)]


def verify_lock(path: Path) -> tuple[list[Difference], list[Difference]]:
    """The recipe planned again against its lock: differences in inputs, and in circumstances."""
    locked = read_lock(path)
    recipe = path.with_name(path.name.removesuffix(".lock.toml") + ".toml")
    resolved, faults = resolve(recipe)
    now = lock_of_all(make_plans(resolved, faults, run_dir=resolved.root / "runs" / "verify"))
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
            yield Difference(f"weights {path.name}", "no hash in the record: the run ended before it was known", None)
            continue
        now = path_digest(path)[0] if path.exists() else None
        if now != entry["sha256"]:
            yield Difference(f"weights {path}", entry["sha256"], now)


def _dataset(run_dir: Path, record: Mapping[str, Any]) -> Iterator[Difference]:
    root = Path(str(record["dataset"].get("root", "")))
    listed = run_dir / "dataset.json"
    try:
        rows = json.loads(listed.read_text(encoding="utf-8"))
        wanted = {str(row["image"]): row["sha256"] for row in rows}
        captions = {str(row["image"]): row.get("caption_sha256") for row in rows}
    except FileNotFoundError:
        yield Difference("dataset", "no dataset.json: the run ended before it was written", None)
        return
    except (ValueError, TypeError, KeyError) as error:
        raise LorakitError(f"{listed}: not a list of images any more ({error}). Was it edited by hand?") from error
    extension = str(record["settings"].get("train", {}).get("caption_extension", {}).get("value", ".txt"))
    now = sha256_of_all([root / name for name in wanted])
    now_captions = sha256_of_all([(root / name).with_suffix(extension) for name, digest in captions.items() if digest])
    for name, digest in wanted.items():
        if now[root / name] != digest:
            yield Difference(f"dataset {name}", digest, now[root / name])
        caption = (root / name).with_suffix(extension)
        if captions[name] and now_captions[caption] != captions[name]:
            yield Difference(f"dataset {name} (caption)", captions[name], now_captions[caption])


def _checkpoints(run_dir: Path, record: Mapping[str, Any]) -> Iterator[Difference]:
    for entry in record["checkpoints"]:
        path = run_dir / str(entry.get("path", ""))
        if entry.get("removed") or not entry.get("sha256"):
            continue
        if not path.is_file():
            yield Difference(str(entry["path"]), entry["sha256"], None)
            continue
        found = inspect(path)
        if found.sha256 == entry["sha256"]:
            continue
        same_tensors = entry.get("tensors_sha256") == found.tensors_sha256
        yield Difference(str(entry["path"]) + (" (metadata only; the tensors are the same)" if same_tensors else ""), entry["sha256"],
                         found.sha256)
