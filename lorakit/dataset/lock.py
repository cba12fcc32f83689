"""One writer at a time in a dataset. The lock is in the dataset's own `.lorakit` folder, where
neither trainers nor scans look; whoever only reads needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from lorakit.dataset.rules import shown
from lorakit.owner import Owner, own


def hold_dataset(
    root: Path, command: str, *, wait_s: float, waiting: Callable[[Owner], None] = lambda _: None
) -> AbstractContextManager[None]:
    """Raises Owned when somebody else writes in the dataset for longer than `wait_s` (negative:
    we wait to the end).
    """
    place = root / ".lorakit"
    what = f"lorakit dataset {command}"
    return own(place, what, named=shown(root), wait_s=wait_s, waiting=waiting)
