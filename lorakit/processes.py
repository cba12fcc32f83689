"""Who is who among processes: identities that survive pid reuse, the members of a run, what they
weigh. Reads, never signals.

Every process of a run inherits LORAKIT_RUN, a mark made for that one launch. On Linux we look for
the mark itself, so that workers which left the process group (torch's elastic launcher does that)
are found, and nobody else's process ever is.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorakit.proc import ask

MARK = "LORAKIT_RUN"
PROC = Path("/proc")
LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True)
class Identity:
    """One process for good: a pid alone may belong to somebody else tomorrow."""

    pid: int
    started: str  # kernel's start time; with boot_id it names the process for ever
    boot_id: str
    mark: str = ""  # value of LORAKIT_RUN in the whole run

    @classmethod
    def of(cls, pid: int, mark: str = "") -> Identity:
        return cls(pid, start_time(pid) or "", boot_id(), mark)

    @classmethod
    def read(cls, data: Any) -> Identity | None:
        """From a record that anybody may have edited; None when it is not an identity."""
        if (
            not isinstance(data, dict)
            or not isinstance(data.get("pid"), int)
            or isinstance(data["pid"], bool)
            or data["pid"] <= 1
        ):
            return None
        return cls(
            data["pid"], *(str(data.get(key) or "") for key in ("started", "boot_id", "mark"))
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def alive(self) -> bool:
        return bool(self.started) and self.same_boot and start_time(self.pid) == self.started

    @property
    def same_boot(self) -> bool:
        return self.boot_id == boot_id()


@dataclass(frozen=True)
class Member:
    pid: int
    group: int
    resident_bytes: int


def start_time(pid: int) -> str | None:
    """When the process started, in the kernel's words; None when there is no such living process
    (zombies have ended).
    """
    if LINUX:
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    answer = ask(["ps", "-o", "stat=,lstart=", "-p", str(pid)], timeout_s=5)
    state, _, started = answer.out.strip().partition(" ")
    return started.strip() if answer.code == 0 and state and not state.startswith("Z") else None


def boot_id() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return (
            ask(["sysctl", "-n", "kern.boottime"], timeout_s=5).out.strip()
            if sys.platform == "darwin"
            else ""
        )


def members(leader: Identity) -> list[Member]:
    """Every living process of the run: those that carry its mark and, where marks cannot be read,
    those of its group.
    """
    if not leader.same_boot:
        return []
    return list(_linux_members(leader) if LINUX else _ps_members(leader))


def gpu_memory(pids: set[int]) -> int:
    """What these processes hold of the GPUs, in bytes; 0 where there is no nvidia-smi to ask."""
    if not shutil.which("nvidia-smi"):
        return 0
    answer = ask(
        ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"],
        timeout_s=5,
    )
    rows = (line.partition(",") for line in answer.out.splitlines())
    return sum(
        int(mib) << 20
        for pid, _, mib in rows
        if pid.strip().isdigit() and int(pid) in pids and mib.strip().isdigit()
    )


def oom_kills() -> int:
    """How often the kernel has killed something of our control group for memory; 0 where that
    cannot be read.
    """
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


def _linux_members(leader: Identity) -> Iterator[Member]:
    mark, page = f"{MARK}={leader.mark}".encode(), os.sysconf("SC_PAGE_SIZE")
    for entry in os.listdir(PROC):
        if not entry.isdigit() or (fields := _stat(int(entry))) is None or fields[0] in "ZX":
            continue
        try:
            marked = bool(leader.mark) and mark in (PROC / entry / "environ").read_bytes().split(
                b"\0"
            )
        except OSError:
            continue  # gone, or somebody else's
        if marked or (int(entry) == leader.pid and fields[19] == leader.started):
            yield Member(int(entry), int(fields[2]), int(fields[21]) * page)


def _ps_members(leader: Identity) -> Iterator[Member]:
    """The kernel keeps a group's number from being given out while a member lives, so a group we
    started is still ours.
    """
    rows = [
        line.split(None, 4)
        for line in ask(
            ["ps", "-A", "-o", "pid=,pgid=,rss=,stat=,lstart="], timeout_s=10
        ).out.splitlines()
    ]
    whole = [row for row in rows if len(row) == 5]
    if any(row[0] == str(leader.pid) and row[4].strip() != leader.started for row in whole):
        return  # the leader's number belongs to a later program
    for pid, group, resident, state, _ in whole:
        if group == str(leader.pid) and not state.startswith("Z"):
            yield Member(int(pid), int(group), int(resident) * 1024)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; the name before it may hold spaces and brackets."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
