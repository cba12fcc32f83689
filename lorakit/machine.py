"""What this machine is, found without importing torch: cores, memory, accelerators, free disk."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from lorakit.proc import ask


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Machine:
    system: str  # Linux, Darwin, Windows
    arch: str  # x86_64, arm64
    cpu_count: int
    memory_bytes: int  # 0: unknown
    gpus: tuple[Gpu, ...]

    @property
    def accelerator(self) -> str:
        """cuda, mps or cpu: what torch will most likely find."""
        if self.gpus:
            return "cuda"
        return "mps" if self.system == "Darwin" and self.arch == "arm64" else "cpu"


def this_machine() -> Machine:
    return Machine(platform.system(), platform.machine(), os.cpu_count() or 1, _memory(), _gpus())


def free_disk(path: Path) -> int:
    """Free bytes where `path` is or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _gpus() -> tuple[Gpu, ...]:
    if not shutil.which("nvidia-smi"):
        return ()
    answer = ask(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
        timeout_s=10,
    )
    rows = (line.rsplit(",", 1) for line in answer.out.splitlines() if "," in line)
    return tuple(Gpu(name.strip(), int(mib) << 20) for name, mib in rows if mib.strip().isdigit())
