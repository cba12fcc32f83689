"""Hashes what went in and what came out, in a thread beside the training, so that no launch waits
for a 24 GB file.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lorakit.dataset.captions.read import read_words
from lorakit.files import write_atomic
from lorakit.plan.model import Plan
from lorakit.weights.finite import inspect
from lorakit.weights.hashes import path_digest, sha256_of_all

Entry = dict[str, Any]
_Job = Callable[[], None]


class Bookkeeper:
    """One worker, one queue. Results are entries that the run's own thread picks up with `take`."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._done: queue.Queue[tuple[str, Entry]] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="lorakit-bookkeeper", daemon=True)
        self._thread.start()

    def weights(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._jobs.put(lambda entry=entry: self._done.put(("weights", hash_weight(entry))))  # type: ignore[misc]

    def dataset(self, plan: Plan, run_dir: Path) -> None:
        self._jobs.put(lambda: self._done.put(("dataset", write_dataset_list(plan, run_dir))))

    def checkpoint(self, run_dir: Path, entry: Entry) -> None:
        self._jobs.put(lambda: self._done.put(("checkpoint", describe_checkpoint(run_dir, entry))))

    def take(self) -> list[tuple[str, Entry]]:
        found = []
        while not self._done.empty():
            found.append(self._done.get_nowait())
        return found

    def finish(self, stop_waiting: Callable[[], bool]) -> None:
        """Wait for the queue to run dry, unless somebody cannot wait (a second Ctrl-C)."""
        self._jobs.put(None)
        while self._thread.is_alive() and not stop_waiting():
            self._thread.join(0.05)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001, S112  (a hash that cannot be made stays null; it must never end a training)
                continue


def hash_weight(entry: Entry) -> Entry:
    path = Path(str(entry["path"]))
    if not path.exists():
        return entry  # a name on a hub, fetched by the script itself
    digest, size = path_digest(path)
    return {**entry, "sha256": digest, "short": digest[:10], "size_bytes": size}


def dataset_rows(plan: Plan) -> list[Entry]:
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
            "caption": None if image.caption_path is None else _caption(image.caption_path),
            "caption_sha256": (
                None if image.caption_path is None else hashes.get(image.caption_path)
            ),
            "repeats": subset.repeats,
            "width": image.width,
            "height": image.height,
        }
        for subset, image in images
    ]
    return sorted(rows, key=lambda row: str(row["image"]))


def digest_of(rows: Sequence[Entry]) -> str:
    """The dataset in one hash: relative paths, image and caption hashes, repeats; nothing else
    about files (no times, no places).
    """
    text = "\n".join(
        f"{row['image']}\t{row['sha256']}\t{row['caption_sha256'] or ''}\t{row['repeats']}"
        for row in rows
    )
    return hashlib.sha256(text.encode()).hexdigest()


def write_dataset_list(plan: Plan, run_dir: Path) -> Entry:
    rows = dataset_rows(plan)
    write_atomic(run_dir / "dataset.json", json.dumps(rows, indent=0, ensure_ascii=False) + "\n")
    return {"digest": digest_of(rows), "files": "dataset.json"}


def describe_checkpoint(run_dir: Path, entry: Entry) -> Entry:
    weights = inspect(run_dir / str(entry["path"]))
    return {
        **entry,
        "size_bytes": weights.size_bytes,
        "sha256": weights.sha256 or None,
        "tensors_sha256": weights.tensors_sha256 or None,
        "finite": not weights.not_finite,
        "fault": weights.fault or None,
    }


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _caption(path: Path) -> str | None:
    try:
        words = read_words(path)
    except OSError:
        return None
    return words.text.strip() if words else None
