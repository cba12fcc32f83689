"""Check out sd-scripts or musubi-tuner at its pin and build an environment for it under vendor/:
what `make vendor` and `make vendor-musubi` run. A second run changes nothing.

    python tools/vendor.py [musubi]

The environment gets the submodule's own requirements plus torch, without what this platform cannot
have. pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are honoured. Whoever has a checkout
already needs none of this: the last lines say how.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lorakit import tomllib  # noqa: E402  (the tool runs from a plain checkout of ours)
from lorakit.catalogue.checkout import head_commit  # noqa: E402
from lorakit.files import write_atomic  # noqa: E402
from lorakit.machine import this_machine  # noqa: E402
from lorakit.trainers.checkout import READY, Home  # noqa: E402
from lorakit.trainers.kohya.locate import HOME as KOHYA  # noqa: E402
from lorakit.trainers.musubi.trainer import Musubi  # noqa: E402

TORCH = ("torch==2.8.0", "torchvision==0.23.0")
CUDA_ONLY = ("bitsandbytes", "xformers", "triton")
PYTHONS = ("3.10", "3.11", "3.12")  # that the pinned requirements of both have wheels for
# venv and ensurepip: Debian's python3 comes without them
VERSION = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
NO_PYTHON = """\
sd-scripts and musubi-tuner need Python 3.10, 3.11 or 3.12, and none is here. lorakit itself may
stay on the newer one: only their environments under vendor/ need it. Get one, then run this again:
  uv python install 3.12         (https://docs.astral.sh/uv)
  pyenv install 3.12
  brew install python@3.12       (macOS)
  sudo apt install python3.12-venv      (Ubuntu 24.04)"""


def lines_of(checkout: Path) -> str:
    return (checkout / "requirements.txt").read_text(encoding="utf-8")


def dependencies_of(checkout: Path) -> str:
    """Its own; tensorboard, which it logs with, is left to whoever sets it up."""
    project = tomllib.read(checkout / "pyproject.toml")["project"]
    return "\n".join([*project["dependencies"], "tensorboard"])


@dataclass(frozen=True)
class Vendored:
    home: Home
    wanted: Callable[[Path], str]  # its requirements, a line each
    source: str  # the folder in its checkout that is imported from
    imports: str


SD_SCRIPTS = Vendored(KOHYA, lines_of, "", "library, library.train_util")
# Not Wan's modules: one of them asks for the CUDA device as it is imported.
MUSUBI_TUNER = Vendored(Musubi.HOME, dependencies_of, "src", "musubi_tuner.training.trainer_base")


def main(vendor: Path, one: Vendored = SD_SCRIPTS) -> int:
    try:
        return set_up(vendor, one)
    except KeyboardInterrupt:
        print(
            "\nStopped before it was done. Run it again: it goes on from what is there.",
            file=sys.stderr,
        )
        return 130


def set_up(vendor: Path, one: Vendored) -> int:
    checkout, venv = vendor / one.home.folder.name, vendor / one.home.venv
    check_out(vendor.parent, checkout, one)
    wanted, left_out = requirements(one.wanted(checkout), this_machine().accelerator)
    stamp = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    ready = venv / READY
    if ready.is_file() and ready.read_text(encoding="utf-8") == stamp:
        say(f"{venv}: as it should be")
    else:
        if not fits(str(python_of(venv))):
            make_environment(venv, fitting_python(sys.executable), one)
        fill(venv, wanted, left_out, one)
    prove(python_of(venv), checkout, one)
    write_atomic(ready, stamp)
    say(f'{one.home.title} is ready; recipes with trainer = "{one.home.trainer}" find it here.')
    return 0


def check_out(root: Path, checkout: Path, one: Vendored = SD_SCRIPTS) -> None:
    home = one.home
    if head_commit(checkout) == home.pin and (checkout / home.mark).is_file():
        say(f"{checkout}: at {home.pin[:12]}")
        return
    if not shutil.which("git"):
        sys.exit("git is not installed.\n" + home.ways())
    command = [
        "git",
        "-C",
        str(root),
        "submodule",
        "update",
        "--init",
        "--depth",
        "1",
        f"vendor/{checkout.name}",
    ]
    if run(command):
        sys.exit(
            "The submodule could not be fetched: no network, or no way to its"
            f" repository.\n{home.ways()}"
        )
    if head_commit(checkout) != home.pin:
        sys.exit(
            f"{checkout} is at {head_commit(checkout)}, not at the pin {home.pin}. Move it aside"
            " and run this again."
        )


def requirements(text: str, accelerator: str) -> tuple[list[str], list[str]]:
    """What to install and what was left out: comments and the package itself never, CUDA's own
    packages only with CUDA.
    """
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    named = [line for line in lines if line and not line.startswith("-")]
    left_out = [
        line for line in named if line.lower().startswith(CUDA_ONLY) and accelerator != "cuda"
    ]
    return [*TORCH, *(line for line in named if line not in left_out)], left_out


def fitting_python(ours: str) -> str:
    """A Python that their requirements exist for: ours, or the newest that PATH, pyenv or uv
    has. lorakit itself may run on a newer one.
    """
    if fits(ours):
        return ours
    for version in reversed(PYTHONS):
        if found := next(filter(fits, candidates(version)), None):
            return found
    sys.exit(NO_PYTHON)


def candidates(version: str) -> Iterator[str]:
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")))
    if uv := shutil.which("uv"):
        yield asked(uv, "python", "find", version)


def fits(python: str) -> bool:
    """Asked, not believed: pyenv's shims answer only for versions that are switched on."""
    return bool(python) and ".".join(asked(python, "-c", VERSION).split()) in PYTHONS


def asked(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def make_environment(venv: Path, python: str, one: Vendored) -> None:
    say(f"Python for {one.home.title}: {python}")
    if run([python, "-m", "venv", "--clear", str(venv)]):
        sys.exit(f"{venv} could not be made.")


def fill(venv: Path, wanted: list[str], left_out: list[str], one: Vendored) -> None:
    for line in left_out:
        say(
            f"left out: {line} (no CUDA card here; the optimisers that need it are refused by the"
            " plan)"
        )
    say(
        f"installing {len(wanted)} requirements into {venv}; torch alone is large, so this takes"
        " minutes"
    )
    if run(
        [
            str(python_of(venv)),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *wanted,
        ]
    ):
        sys.exit(
            "pip failed. Its settings apply here (PIP_INDEX_URL, ...); run this again when it can"
            f" reach its packages.\n{one.home.ways()}"
        )


def prove(python: Path, checkout: Path, one: Vendored = SD_SCRIPTS) -> None:
    source = str(checkout / one.source)
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": source}
    check = f"import torch, {one.imports}; print('torch', torch.__version__)"
    done = subprocess.run(
        [str(python), "-c", check],
        env=env,
        cwd=python.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{done.stderr}\n{python} cannot import {one.home.title}. Remove"
            f" {python.parents[1]} and run this again."
        )
    say(f"{python}: {done.stdout.splitlines()[-1]}, {one.home.title} imports")


def python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def run(command: list[str]) -> int:
    say("$ " + " ".join(command[:8]) + (" ..." if len(command) > 8 else ""))
    return subprocess.run(command, check=False).returncode


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(ROOT / "vendor", MUSUBI_TUNER if sys.argv[1:] == ["musubi"] else SD_SCRIPTS))
