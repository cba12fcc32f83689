"""The writer of a run's record. A full disk or a folder that is gone ends no training."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.files import write_atomic
from lorakit.runs.record import NAME, Record, read_record

SPARE, SPARE_BYTES = ".room-for-the-record", 1 << 17


class Ledger:
    """The record of one run and its file. `trouble` says why the last save failed."""

    def __init__(self, run_dir: Path, record: Record | None = None) -> None:
        self.run_dir = run_dir
        self.record = record or read_record(run_dir)
        self.trouble = ""

    def note(self, **changes: Any) -> None:
        """Change fields of the record; the next save writes them."""
        self.record = replace(self.record, **changes)

    def update(self, **changes: Any) -> None:
        self.note(**changes)
        self.save()

    def save(self) -> None:
        text = self.record.as_text()
        path, spare = self.run_dir / NAME, self.run_dir / SPARE
        self.trouble = ""
        try:
            try:
                write_atomic(path, text)
            except OSError:
                if not spare.is_file():
                    raise
                spare.unlink()
                write_atomic(path, text)
        except OSError as error:
            self.trouble = f"{path} cannot be written: {error.strerror}"

    def keep_room(self) -> None:
        """Room for two records, given up on a full disk: the outcome must be written down."""
        with contextlib.suppress(OSError):
            count = max(SPARE_BYTES, 2 * (self.run_dir / NAME).stat().st_size)
            write_atomic(self.run_dir / SPARE, bytes(count))

    def give_room(self) -> None:
        with contextlib.suppress(OSError):
            (self.run_dir / SPARE).unlink(missing_ok=True)
