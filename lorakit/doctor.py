"""What this machine is and has, each with its remedy where something is wrong. Reads and asks;
changes nothing, and tells no private path and no token.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lorakit import __version__, json_text
from lorakit.config import home
from lorakit.errors import LorakitError
from lorakit.machine import free_disk
from lorakit.proc import ask
from lorakit.proof.lock import DECISIVE
from lorakit.show import size
from lorakit.trainers.checkout import CheckoutTrainer, Home, packages_of
from lorakit.trainers.table import TRAINERS, trainer
from lorakit.user_files import Unreadable, read_text

PYTHONS = ((3, 10), (3, 15))  # from, and before
LITTLE_DISK = 20_000_000_000  # a base, its caches and a few checkpoints
ENGINES = {"Slurm": "sbatch", "SkyPilot": "sky", "ssh": "ssh", "rsync": "rsync", "git": "git"}
ROOT = Path(__file__).resolve().parents[1]
_PLACE = re.compile(r"(?<![\w.:/~-])(?:~?/[^\s'\",;:()/]+)+/?")
# Run by the Python that trains; one copy within the device says its bandwidth (a read and a write).
PROBE = """
import json, time
import torch
kind = "cuda" if torch.cuda.is_available() else "cpu"
if kind == "cpu" and getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
    kind = "mps"
found = {"torch": torch.__version__, "device": kind, "name": "", "memory": 0, "can": []}
if kind == "cuda":
    about = torch.cuda.get_device_properties(0)
    major = about.major + about.minor / 10
    found.update(name=about.name, memory=about.total_memory, cards=torch.cuda.device_count())
    found["can"] = [word for word, least in (("fp16", 5.3), ("int8", 7.5), ("bf16", 8.0),
                    ("fp8", 8.9)) if major >= least]
elif kind == "mps":
    found["can"] = ["fp16", "bf16"]
else:
    found["can"] = ["bf16"] + (["int8"] if torch.backends.quantized.supported_engines else [])
wait = getattr(getattr(torch, kind), "synchronize", lambda: None)
count = 1 << (28 if kind == "cuda" else 26)
a = torch.ones(count, dtype=torch.uint8, device=kind); b = a.clone(); wait()
best = 9.0
for _ in range(5):
    start = time.perf_counter(); b.copy_(a); wait()
    best = min(best, time.perf_counter() - start)
found["bandwidth"] = 2 * count / best
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Checked:
    """One line of the report. `state`: ok, note, red; what is red has a remedy."""

    name: str
    state: str
    said: str
    remedy: str = ""


def examine(interfaces: Mapping[str, tuple[str, ...]]) -> list[Checked]:
    """In the order in which one thing needs another; `interfaces` are folders by program."""
    asked = map(trainer, TRAINERS)
    homes = (one.HOME for one in asked if isinstance(one, CheckoutTrainer))
    found = chain(
        *(_python(), _device(), *map(_trainer, homes), _packages(), _disk(), _hub()),
        *(_interfaces(interfaces), _engines()),
    )
    return [replace(one, said=unlocated(one.said), remedy=unlocated(one.remedy)) for one in found]


def unlocated(text: str) -> str:
    """Without folders: a place is told by its last name, so that the report can be pasted."""
    return _PLACE.sub(lambda found: f".../{found[0].rstrip('/').rpartition('/')[2]}", text)


def _python() -> Iterator[Checked]:
    said = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Checked("lorakit", "ok", __version__)
    fits = PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]
    remedy = "" if fits else "Use Python 3.10 to 3.14: uvx --python 3.12 lorakit doctor"
    yield Checked("Python", "ok" if fits else "red", said, remedy)


def _device() -> Iterator[Checked]:
    answer = ask([sys.executable, "-c", PROBE], timeout_s=120)
    if answer.code:
        last = (answer.err.strip().splitlines() or ["it ended silently"])[-1]
        state = "note" if "No module named 'torch'" in last else "red"
        remedy = "pip install 'lorakit[train]'    # the embedded trainer"
        yield Checked("torch", state, last, remedy)
        return
    found = json_text.loads(answer.out.strip().splitlines()[-1])
    yield Checked("torch", "ok", found["torch"])
    memory = f", {size(found['memory'])}" if found["memory"] else ""
    cards = f"{found['cards']} x " if found.get("cards", 1) > 1 else ""
    said = f"{cards}{found['device']} {found['name']}".strip()
    can, rate = ", ".join(found["can"]) or "fp32 alone", size(found["bandwidth"])
    yield Checked("device", "ok", f"{said}{memory}; can {can}; copies {rate}/s")
    if found["device"] == "cpu" and shutil.which("nvidia-smi"):
        what = "nvidia-smi is here, but torch sees no card"
        yield Checked("CUDA", "red", what, "Install a torch built for CUDA; see docs/hardware.md.")


def _trainer(one: Home) -> Iterator[Checked]:
    try:
        located = one.locate()
    except LorakitError as error:
        yield Checked(one.title, "red", error.message, error.hint)
        return
    if located is None:
        yield Checked(one.title, "note", "not set up", one.set_up.strip())
        return
    commit = located.commit[:12] or "no readable commit"
    pinned = "the pin" if located.pinned else f"not the pin {one.pin[:12]}"
    packages = packages_of(located.python)
    said = ", ".join(f"{name} {packages[name]}" for name in sorted(DECISIVE & packages.keys()))
    state = "ok" if located.pinned else "note"
    remedy = "" if located.pinned else f"git -C FOLDER checkout {one.pin[:12]}"
    yield Checked(one.title, state, f"{commit} ({pinned}); {said or 'no packages found'}", remedy)
    if "torch" not in packages:
        answer = ask([str(located.python), "-c", "import torch"], timeout_s=60)
        if answer.code:
            yield Checked(f"{one.title}: torch", "red", "its Python has no torch", one.ways())


def _packages() -> Iterator[Checked]:
    """Against the versions that lorakit's own tests pass with, where this is a clone."""
    pins: dict[str, set[str]] = {}
    with suppress(Unreadable):
        for line in read_text(ROOT / "constraints.txt").splitlines():
            name, equals, rest = line.partition("==")
            if equals:
                pins.setdefault(name.strip().lower(), set()).add(rest.partition(";")[0].strip())
    here, ours = packages_of(Path(sys.executable)), {"huggingface-hub", "rich", "toml"}
    names = sorted({*DECISIVE, *ours, "psutil", "filelock"} & here.keys())
    plain = {name: here[name].partition("+")[0] for name in names}  # 2.13.0+cpu
    other = [f"{name} {one}" for name, one in plain.items() if one not in pins.get(name, {one})]
    said = f"{len(plain)} {'as pinned' if pins else 'no pins to compare with'}"
    if other:
        said = f"other than lorakit's tests pass with: {', '.join(other)}"
    remedy = "pip install -c constraints.txt -e '.[train]'" if other else ""
    yield Checked("packages", "note" if other else "ok", said, remedy)


def _disk() -> Iterator[Checked]:
    free = free_disk(Path.cwd())
    enough, said = free >= LITTLE_DISK, f"{size(free)} free here"
    remedy = "" if enough else "A base, caches and checkpoints need about 20 GB; move the project."
    yield Checked("disk", "ok" if enough else "note", said, remedy)
    if not os.access(Path.cwd(), os.W_OK):
        yield Checked("folder", "red", "cannot be written", "cd into a project of yours.")


def _hub() -> Iterator[Checked]:
    """Whether there is a token, never which."""
    file = Path(os.environ.get("HF_HOME") or home() / ".cache" / "huggingface") / "token"
    kept = Path(os.environ.get("HF_TOKEN_PATH") or file)
    by = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "hf auth login" if kept.is_file() else ""
    said = f"a token by {by}" if by else "no token; gated bases need one"
    yield Checked("hub login", "ok" if by else "note", said, "" if by else "hf auth login")


def _interfaces(programs: Mapping[str, tuple[str, ...]]) -> Iterator[Checked]:
    found = [name for names in programs.values() for name in names if (home() / name).is_dir()]
    remedy = "" if found else "lorakit deploy RUN --to comfyui --dir FOLDER names one."
    said = ", ".join(found) or "none where people install them"
    yield Checked("interfaces", "ok" if found else "note", said, remedy)


def _engines() -> Iterator[Checked]:
    found = [name for name, program in ENGINES.items() if shutil.which(program)]
    yield Checked("engines", "ok", ", ".join(found) or "none: only this machine's queue")
