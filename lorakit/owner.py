"""Whose turn it is: one process at a time owns a folder, under a lock that ends with the process
however it ends, and whoever comes second can say who the first is.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.files import write_atomic
from lorakit.processes import Identity
from lorakit.typed_json import Part
from lorakit.user_files import Unreadable

LOCK, NOTE = ".owner.lock", ".owner.json"
INTRODUCTION_S = 1.0  # between taking the lock and having written down who did


@dataclass(frozen=True)
class Owner(Part):
    """As it wrote itself down, for people to read; the lock alone decides."""

    what: str = "another lorakit"
    since: str = "just now"
    process: Identity = field(default_factory=Identity)

    def __str__(self) -> str:
        return f"{self.what} (pid {self.process.pid})" if self.process.pid else self.what


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
            waiting(_owner_of(folder))
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            raise Owned(named, _owner_of(folder), hint) from None
    except OSError:  # a full disk, a file system without locks
        if lock_needed:
            raise
    try:
        if lock.lock_counter == 1:
            _introduce(folder, what)
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):
                (folder / NOTE).unlink()
        lock.release()


def _owner_of(folder: Path) -> Owner:
    """Whoever holds the lock, once it has written itself down; who held it before has ended."""
    end = time.monotonic() + INTRODUCTION_S
    while time.monotonic() < end:
        with suppress(Unreadable):
            owner = Owner.read(folder / NOTE)
            if owner.process.alive:
                return owner
        time.sleep(0.02)
    return Owner()


def _introduce(folder: Path, what: str) -> None:
    here = datetime.now().astimezone().replace(tzinfo=None)
    owner = Owner(what, here.isoformat(" ", "seconds"), Identity.of(os.getpid()))
    with suppress(OSError):  # a full disk: the lock is held all the same
        write_atomic(folder / NOTE, owner.as_text())
