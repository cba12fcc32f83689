"""What this machine is, without importing torch, and what another is that somebody names."""

import os
import re
import shutil
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from lorakit import tomllib
from lorakit.errors import did_you_mean
from lorakit.proc import ask

GB = 1_000_000_000


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int
    capability: float = 0.0  # CUDA's compute capability; 0: not known
    sky: str = field(default="", compare=False)  # SkyPilot's name of it


SIZES = "cuda:24 (GB), cuda:24x2 (cards), mps, mps:64 or cpu"


@dataclass(frozen=True)
class Machine:
    system: str  # Linux, Darwin, Windows
    arch: str  # x86_64, arm64
    cpu_count: int
    memory_bytes: int  # 0: unknown
    gpus: tuple[Gpu, ...]
    elsewhere: bool = False  # another one than this: files and packages here say nothing about it

    @property
    def accelerator(self) -> str:
        """cuda, mps or cpu: what torch will most likely find."""
        if self.gpus:
            return "cuda"
        return "mps" if self.system == "Darwin" and self.arch == "arm64" else "cpu"

    @property
    def trains_on(self) -> Gpu:
        """The memory that a training fills: the first card's, or the machine's own."""
        name = "that machine" if self.elsewhere else "this machine"
        return self.gpus[0] if self.gpus else Gpu(name, self.memory_bytes)


@cache
def known_cards() -> dict[str, Gpu]:
    """By the name that `--for` takes."""
    page = tomllib.loads(Path(__file__).with_name("cards.toml").read_text(encoding="utf-8"))
    return {
        key: Gpu(one["name"], one["memory_gb"] * GB, one["capability"], one.get("sky", ""))
        for key, one in page.items()
    }


def this_machine() -> Machine:
    memory, here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.uname()
    return Machine(here.sysname, here.machine, os.cpu_count() or 1, memory, _gpus())


def machine_named(text: str) -> Machine:
    """`rtx4090`, `rtx4090x2`, `cuda:24`, `12GB`, `mps:64`, `cpu`; what is not said, such as
    cores, is as on this machine. A ValueError says what can be written.
    """
    here, word = replace(this_machine(), elsewhere=True), text.strip().lower().replace(" ", "")
    shared = re.fullmatch(r"(cpu|mps)(?::([1-9]\d{0,3})(?:gb)?)?", word)
    if shared:
        memory = int(shared[2]) * GB if shared[2] else here.memory_bytes
        system, arch = ("Darwin", "arm64") if shared[1] == "mps" else ("Linux", "x86_64")
        return replace(here, system=system, arch=arch, memory_bytes=memory, gpus=())
    sized = re.fullmatch(r"(?:cuda:)?([1-9]\d{0,3})(?:gb)?(?:x([1-9]\d{0,2}))?|cuda", word)
    named = re.fullmatch(r"([a-z0-9-]+?)(?:x([1-9]\d{0,2}))?", word)
    if sized:
        name = f"a CUDA card{f' with {sized[1]} GB' if sized[1] else ''}"
        gpu, cards = Gpu(name, int(sized[1] or 0) * GB), sized[2]
    elif named and named[1] in known_cards():
        gpu, cards = known_cards()[named[1]], named[2]
    else:
        near = did_you_mean(word, known_cards()) or f"Cards: {', '.join(known_cards())}."
        raise ValueError(f"{text!r} is not known. {near} Or write {SIZES}.")
    return replace(here, system="Linux", arch="x86_64", gpus=(gpu,) * int(cards or 1))


def free_disk(path: Path) -> int:
    """Free bytes where `path` is or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _gpus() -> tuple[Gpu, ...]:
    # As it is sold: 24,564 MiB are "24 GB", and the rest is what driver and desktop take of it.
    found = _nvidia("gpu=name,memory.total")
    return tuple(Gpu(name, round(mib / 1024) * GB) for name, mib in found)


def gpu_memory(pids: set[int]) -> int:
    """What these processes hold of the GPUs, in bytes; 0 where there is nobody to ask."""
    held = _nvidia("compute-apps=pid,used_memory")
    return sum(mib << 20 for pid, mib in held if pid.isdigit() and int(pid) in pids)


def _nvidia(query: str) -> list[tuple[str, int]]:
    """What nvidia-smi says: a name and how many MiB, a line each."""
    words = [f"--query-{query}", "--format=csv,noheader,nounits"]
    lines = ask(["nvidia-smi", *words], timeout_s=10).out.splitlines()
    rows = (line.rpartition(",") for line in lines)
    return [(name.strip(), int(mib)) for name, _, mib in rows if mib.strip().isdigit()]
