"""Hashes what went in and came out beside the training: no launch waits for a 24 GB file."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lorakit.plan.model import Plan
from lorakit.runs.images import LIST, digest_of, images_of, write_images
from lorakit.runs.ledger import Ledger
from lorakit.runs.ran_from import WeightUsed
from lorakit.runs.record import Record, SavedCheckpoint
from lorakit.weights.finite import inspect
from lorakit.weights.hashes import path_digest

Entry = Callable[[Record], Record]  # puts what was found out into the record


class BackgroundHasher:
    """One worker, one queue. `enter` puts what it has found out into the record."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._jobs: queue.Queue[Callable[[], Entry] | None] = queue.Queue()
        self._done: queue.Queue[Entry] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="lorakit-hasher", daemon=True)
        self._thread.start()

    def weights(self) -> None:
        for one in self.ledger.record.weights:
            if Path(one.path).exists():  # else a name on a hub, fetched by the script itself
                self._jobs.put(lambda one=one: _weight(one))  # type: ignore[misc]

    def dataset(self, plan: Plan) -> None:
        self._jobs.put(lambda: _dataset(plan, self.ledger.run_dir))

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        self._jobs.put(lambda: _checkpoint(self.ledger.run_dir, saved))

    def enter(self) -> bool:
        """Everything found out since the last call; False when there was nothing new."""
        changed = False
        while not self._done.empty():
            self.ledger.record = self._done.get_nowait()(self.ledger.record)
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


def _weight(weight: WeightUsed) -> Entry:
    digest, size = path_digest(Path(weight.path))
    found = replace(weight, sha256=digest, short=digest[:10], size_bytes=size)
    return lambda record: replace(
        record, weights=tuple(found if old.key == found.key else old for old in record.weights)
    )


def _dataset(plan: Plan, run_dir: Path) -> Entry:
    rows = images_of(plan)
    write_images(run_dir, rows)
    digest = digest_of(rows)
    return lambda record: replace(
        record, dataset=replace(record.dataset, digest=digest, files=LIST)
    )


def _checkpoint(run_dir: Path, saved: SavedCheckpoint) -> Entry:
    weights = inspect(run_dir / saved.path)
    return lambda record: record.with_checkpoint(
        saved.path,
        size_bytes=weights.size_bytes,
        sha256=weights.sha256 or None,
        tensors_sha256=weights.tensors_sha256 or None,
        finite=not weights.not_finite,
        fault=weights.fault or None,
    )
