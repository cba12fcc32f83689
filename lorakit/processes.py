"""Who is who among processes: identities that survive pid reuse, the members of a run. No signals.

Every process of a run inherits LORAKIT_RUN, a mark made for that one launch, by which workers that
left the process group (as torch's launcher makes them) are found, and nobody else's process ever.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.files import start_ticks
from lorakit.proc import ask
from lorakit.typed_json import Part

if TYPE_CHECKING:
    from psutil import Process

MARK = "LORAKIT_RUN"
LINUX = sys.platform.startswith("linux")


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
