"""One writer at a time in a dataset. The lock is in the dataset's own `.lorakit` folder, where
neither trainers nor scans look; whoever only reads needs none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lorakit.dataset.rules import shown
from lorakit.files import sweep
from lorakit.owner import Owner, own


@contextmanager
def hold_dataset(
    root: Path, command: str, *, wait_s: float, waiting: Callable[[Owner], None] = lambda _: None
) -> Iterator[None]:
    """Raises Owned after `wait_s` (negative: never). What a killed command has left goes first."""
    place = root / ".lorakit"
    what = f"lorakit dataset {command}"
    with own(place, what, named=shown(root), wait_s=wait_s, waiting=waiting):
        sweep(temporary_in(root))
        yield


def temporary_in(root: Path) -> Iterator[Path]:
    """Hidden neighbours of files, wherever a command writes in a dataset."""
    for pattern in (".*.tmp", "*/.*.tmp", ".lorakit/.*.tmp", "originals/*/.*.tmp"):
        yield from root.glob(pattern)
