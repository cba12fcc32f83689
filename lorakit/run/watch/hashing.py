"""Hashes what went in and what came out, in a thread beside the training, so that no launch waits
for a 24 GB file.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lorakit.dataset.captions.read import read_words
from lorakit.files import write_atomic
from lorakit.plan.model import Plan
from lorakit.runs.ledger import Ledger
from lorakit.runs.ran_from import WeightUsed
from lorakit.runs.record import SavedCheckpoint
from lorakit.user_files import Unreadable
from lorakit.weights.finite import inspect
from lorakit.weights.hashes import path_digest, sha256_of_all

LIST = "dataset.json"
Row = dict[str, Any]  # of dataset.json


class ListedDataset(NamedTuple):
    digest: str
    files: str = LIST


Result = WeightUsed | SavedCheckpoint | ListedDataset


class BackgroundHasher:
    """One worker, one queue. `enter` puts what it has found out into the record."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], Result] | None] = queue.Queue()
        self._done: queue.Queue[Result] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="lorakit-hasher", daemon=True)
        self._thread.start()

    def weights(self, weights: Sequence[WeightUsed]) -> None:
        for one in weights:
            self._jobs.put(lambda one=one: hash_weight(one))  # type: ignore[misc]

    def dataset(self, plan: Plan, run_dir: Path) -> None:
        self._jobs.put(lambda: write_dataset_list(plan, run_dir))

    def checkpoint(self, run_dir: Path, saved: SavedCheckpoint) -> None:
        self._jobs.put(lambda: describe_checkpoint(run_dir, saved))

    def enter(self, ledger: Ledger) -> bool:
        """Everything found out since the last call; False when there was nothing new."""
        changed = False
        while not self._done.empty():
            _enter(ledger, self._done.get_nowait())
            changed = True
        return changed

    def finish(self, stop_waiting: Callable[[], bool]) -> None:
        """Wait for the queue to run dry, unless the user cannot wait (a second Ctrl-C)."""
        self._jobs.put(None)
        while self._thread.is_alive() and not stop_waiting():
            self._thread.join(0.05)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._done.put(job())
            except Exception:  # noqa: BLE001, S112  (a hash that cannot be made stays null; it must never end a training)
                continue


def _enter(ledger: Ledger, found: Result) -> None:
    record = ledger.record
    if isinstance(found, ListedDataset):
        ledger.note(dataset=replace(record.dataset, digest=found.digest, files=found.files))
    elif isinstance(found, WeightUsed):
        weights = (found if old.key == found.key else old for old in record.weights)
        ledger.note(weights=tuple(weights))
    else:
        checkpoints = (
            replace(found, removed=old.removed) if old.path == found.path else old
            for old in record.checkpoints
        )
        ledger.note(checkpoints=tuple(checkpoints))


def hash_weight(weight: WeightUsed) -> WeightUsed:
    path = Path(weight.path)
    if not path.exists():
        return weight  # a name on a hub, fetched by the script itself
    digest, size = path_digest(path)
    return replace(weight, sha256=digest, short=digest[:10], size_bytes=size)


def dataset_rows(plan: Plan) -> list[Row]:
    """One row per image, sorted by relative path: hashes of image and caption, and the caption
    itself (diff and report show it).
    """
    root = plan.dataset.root
    images = [(subset, image) for subset in plan.dataset.subsets for image in subset.images]
    hashes = sha256_of_all(
        [path for _, image in images for path in (image.path, image.caption_path) if path]
    )
    rows = [
        {
            "image": _relative(image.path, root),
            "sha256": hashes.get(image.path),
            "caption": image.caption
            if subset.metadata
            else image.caption_path and _caption(image.caption_path),
            "caption_sha256": image.caption_path and hashes.get(image.caption_path),
            "repeats": subset.repeats,
            "width": image.width,
            "height": image.height,
            **({"caption_file": str(subset.metadata)} if subset.metadata else {}),
        }
        for subset, image in images
    ]
    return sorted(rows, key=lambda row: str(row["image"]))


def digest_of(rows: Sequence[Row]) -> str:
    """The dataset in one hash: relative paths, image and caption hashes, repeats; nothing else
    about files (no times, no places).
    """
    text = "\n".join(
        f"{row['image']}\t{row['sha256']}\t{row['caption_sha256'] or ''}\t{row['repeats']}"
        for row in rows
    )
    return hashlib.sha256(text.encode()).hexdigest()


def write_dataset_list(plan: Plan, run_dir: Path) -> ListedDataset:
    rows = dataset_rows(plan)
    write_atomic(run_dir / LIST, json.dumps(rows, indent=0, ensure_ascii=False) + "\n")
    return ListedDataset(digest_of(rows))


def describe_checkpoint(run_dir: Path, saved: SavedCheckpoint) -> SavedCheckpoint:
    weights = inspect(run_dir / saved.path)
    return replace(
        saved,
        size_bytes=weights.size_bytes,
        sha256=weights.sha256 or None,
        tensors_sha256=weights.tensors_sha256 or None,
        finite=not weights.not_finite,
        fault=weights.fault or None,
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _caption(path: Path) -> str | None:
    try:
        words = read_words(path)
    except Unreadable:
        return None
    return words.text.strip() if words else None
