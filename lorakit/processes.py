"""Who is who among processes: identities that survive pid reuse, the members of a run. No signals.

Every process of a run inherits LORAKIT_RUN, a mark made for that one launch, by which workers that
left the process group (as torch's launcher makes them) are found, and nobody else's process ever.

And whose turn it is: one process at a time owns a folder, under a lock that ends with the process
however it ends, and whoever comes second can say who the first is.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.errors import LorakitError
from lorakit.files import start_ticks, write_atomic
from lorakit.proc import ask
from lorakit.typed_json import Part
from lorakit.user_files import Unreadable

if TYPE_CHECKING:
    from psutil import Process

MARK = "LORAKIT_RUN"
LINUX = sys.platform.startswith("linux")
LOCK, NOTE = ".owner.lock", ".owner.json"
INTRODUCTION_S = 1.0  # between taking the lock and having written down who did


@dataclass(frozen=True)
class Identity(Part):
    """One process for ever: a pid alone may belong to somebody else tomorrow. Empty: nobody."""

    pid: int = 0
    started: str = ""  # the kernel's start time: with boot_id, the same for no other process
    boot_id: str = ""
    mark: str = ""  # the run's value of LORAKIT_RUN

    @classmethod
    def of(cls, pid: int, mark: str = "") -> "Identity":
        return cls(pid, start_time(pid) or "", boot_id(), mark)

    @property
    def alive(self) -> bool:
        return bool(self.started) and self.same_boot and start_time(self.pid) == self.started

    @property
    def same_boot(self) -> bool:
        """A record may have been edited: 0 and 1 are no program of anybody's."""
        return self.pid > 1 and self.boot_id == boot_id()


@dataclass(frozen=True)
class Member:
    pid: int
    group: int
    resident_bytes: int


def start_time(pid: int) -> str | None:
    """A text to compare; None where no such process lives (zombies have ended)."""
    if LINUX:  # ticks since the boot, which no change of the clock moves
        ticks = start_ticks(pid)
        return None if ticks == "ended" else ticks
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if _ended(process) else repr(process.create_time())
    return None


@cache
def boot_id() -> str:
    """One text for each start of each machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ask(["sysctl", "-n", "kern.bootsessionuuid"], timeout_s=5).out.strip()


def members(leader: Identity) -> list[Member]:
    """What carries the run's mark; of processes that cannot be asked, those of its group."""
    import psutil

    found: list[Member] = []
    reused = start_time(leader.pid) not in {None, leader.started}
    for process in psutil.process_iter() if leader.same_boot else ():
        with suppress(psutil.Error, OSError):  # gone meanwhile, or somebody else's
            if _belongs(process, leader, reused=reused) and not _ended(process):
                group = os.getpgid(process.pid)
                found.append(Member(process.pid, group, process.memory_info().rss))
    return found


def oom_kills() -> int:
    """How often the kernel has killed in our control group for memory; 0 where it does not say."""
    for path in (
        Path("/sys/fs/cgroup/memory.events"),
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
    ):
        try:
            words = path.read_text().split()
        except OSError:
            continue
        if "oom_kill" in words[:-1]:
            return int(words[words.index("oom_kill") + 1])
    return 0


def _belongs(process: "Process", leader: Identity, *, reused: bool) -> bool:
    if process.pid == leader.pid:
        return not reused
    if not LINUX and not reused and os.getpgid(process.pid) == leader.pid:
        return True  # its number is not given out again while a member of the group lives
    return bool(leader.mark) and process.environ().get(MARK) == leader.mark


def _ended(process: "Process") -> bool:
    return process.status() in {"zombie", "dead"}


def end_with_parent() -> None:
    """For a child that nobody waits for once its parent is gone, however it went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
