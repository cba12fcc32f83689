"""Where the kohya trainer's scripts and their Python are: environment, then the user's config,
then vendor/.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lorakit.config import config_path, user_setting
from lorakit.errors import Fault, SetupError
from lorakit.files import at_home

# v0.10.1 and its first fixes; `make vendor` moves it
PIN = "48d368fa557731ad0488c07304dfeba8c07910eb"
VENDOR = Path(__file__).resolve().parents[3] / "vendor"
MARK = "train_network.py"
READY = ".ready"  # written when `make vendor` is through: without it the environment is half built


@dataclass(frozen=True)
class Located:
    directory: Path
    python: Path
    commit: str  # "" where the checkout is no git checkout
    source: str  # who said so: LORAKIT_SD_SCRIPTS, the path of the user's config.toml, vendor/
    pinned: bool

    def faults(self) -> list[Fault]:
        """A checkout other than the pin is used and recorded, with one warning."""
        if self.pinned:
            return []
        found = f"is at {self.commit[:12]}" if self.commit else "has no commit we can read"
        return [
            Fault(
                str(self.directory),
                f"{found}; lorakit was checked against {PIN[:12]}.",
                "Options and step counts may differ.",
                "kohya-pin",
                "warning",
            )
        ]


def locate() -> Located | None:
    """The checkout and its Python, or None where there is none. A place that is named but is no
    checkout raises.
    """
    named = user_setting("sd_scripts")
    directory = at_home(Path(named[0])).absolute() if named else VENDOR / "sd-scripts"
    source = named[1] if named else "vendor/"
    if not (directory / MARK).is_file():
        if named:
            raise SetupError(
                f"{source} names {directory}, but there is no {MARK} in it.", hint=ways_out()
            )
        return None
    python = _python(source)
    if python is None:
        return None
    commit = head_commit(directory) or ""
    return Located(directory, python, commit, source, pinned=commit == PIN)


def require() -> Located:
    """The checkout, or one message that names the ways out."""
    located = locate()
    if located is None:
        lacking = (
            "`make vendor` has not come to its end"
            if (VENDOR / ".venv").exists()
            else "neither is set up here"
        )
        raise SetupError(
            f"The kohya trainer needs sd-scripts and a Python environment for it; {lacking}.",
            hint=ways_out(),
        )
    return located


def head_commit(directory: Path) -> str | None:
    """The commit that a checkout stands at, read from .git itself: plain repositories, worktrees
    and submodules.
    """
    git = directory / ".git"
    try:
        if git.is_file():
            git = (
                directory / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            ).resolve()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        shared = git / "commondir"
        common = (
            (git / shared.read_text(encoding="utf-8").strip()).resolve()
            if shared.is_file()
            else git
        )
        loose = common / name
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
        packed = (
            line.split()
            for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines()
        )
        return next((words[0] for words in packed if words[1:] == [name]), None)
    except OSError:
        return None


def _python(source: str) -> Path | None:
    named = user_setting("sd_scripts_python")
    if named:
        python = at_home(
            Path(named[0])
        ).absolute()  # not resolved: a venv's python is a link that must stay one
        if not os.access(python, os.X_OK):
            raise SetupError(
                f"{named[1]} names {python} as sd-scripts' Python, but it cannot be run.",
                hint=ways_out(),
            )
        return python
    vendored = (
        VENDOR / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    )
    if vendored.exists() and (VENDOR / ".venv" / READY).exists():
        return vendored
    if source != "vendor/":
        raise SetupError(
            f"{source} names a checkout, but nothing names its Python.", hint=ways_out()
        )
    return None


def ways_out() -> str:
    return f"""\
Ways out:
  make vendor                                   in a clone of lorakit: checks it out, builds vendor/.venv (7 GB on Linux)
  export LORAKIT_SD_SCRIPTS=DIR LORAKIT_SD_SCRIPTS_PYTHON=DIR/venv/bin/python     use a checkout you have
  sd_scripts and sd_scripts_python in {config_path()}   the same, for good
  trainer = "embedded" in the recipe            SD1.5, SDXL and FLUX without sd-scripts"""
