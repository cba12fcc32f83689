"""Who may train into a run's folder, follow its training and close its record: one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from lorakit.owner import Owner, own
from lorakit.runs.find import whole_of


def own_run(
    run_dir: Path,
    what: str,
    *,
    wait_s: float = 0,
    waiting: Callable[[Owner], None] = lambda _: None,
) -> AbstractContextManager[None]:
    """The whole run, also where one of its stages is meant. A disk that takes no lock does not
    keep a training from its end: the record names the process as well.
    """
    whole = whole_of(run_dir)
    name = f"{whole.parent.name}/{whole.name}"
    return own(
        whole,
        what,
        named=f"{name} is still running",
        hint=f"lorakit watch {name}",
        wait_s=wait_s,
        waiting=waiting,
        lock_needed=False,
    )
