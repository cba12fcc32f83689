"""Whose turn it is: one process at a time owns a folder, under a lock that ends with the process
however it ends, and whoever comes second can say who the first is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.files import write_atomic

LOCK, NOTE = ".owner.lock", ".owner.json"


@dataclass(frozen=True)
class Owner:
    """As it wrote itself down, for people to read; the lock alone decides."""

    what: str = "another lorakit"
    pid: int = 0
    since: str = "just now"

    def __str__(self) -> str:
        return f"{self.what} (pid {self.pid})" if self.pid else self.what


class Owned(LorakitError):  # noqa: N818  (reads as what was found)
    """Somebody else's turn."""

    def __init__(self, named: str, owner: Owner, hint: str) -> None:
        self.owner = owner
        what = f"{named}: {owner} is at work on it, since {owner.since}; nothing was done."
        super().__init__(what, hint=hint)


@contextmanager
def own(
    folder: Path,
    what: str,
    *,
    named: str,
    hint: str = "Run this again when it has ended.",
    lock_needed: bool = True,
    wait_s: float = 0,
    waiting: Callable[[Owner], None] = lambda _: None,
) -> Iterator[None]:
    """The folder is ours until the block ends; inside it, owning it once more is nothing new.
    `waiting` is called once when somebody else has it; after `wait_s` (negative: never) we give up
    with Owned.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if wait_s:
            waiting(owner_of(folder))
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            raise Owned(named, owner_of(folder), hint) from None
    except OSError:  # a full disk, a file system without locks
        if lock_needed:
            raise
    try:
        if lock.lock_counter == 1:
            _introduce(folder, what)
        yield
    finally:
        lock.release()


def owner_of(folder: Path) -> Owner:
    """Who wrote itself down last; meaningful while the lock is held."""
    try:
        data = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return Owner(str(data["what"]), int(data["pid"]), str(data["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Owner()


def _introduce(folder: Path, what: str) -> None:
    note = {
        "what": what,
        "pid": os.getpid(),
        "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}",
    }
    with suppress(OSError):  # a full disk: the lock is held all the same
        write_atomic(folder / NOTE, json.dumps(note) + "\n")
