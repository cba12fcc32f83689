"""Where sd-scripts and its Python are: environment first, then the user's config, then vendor/."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lorakit.catalogue.checkout import VENDOR, head_commit
from lorakit.config import config_path, user_setting
from lorakit.errors import Fault, SetupError
from lorakit.files import at_home

# v0.10.1 and its first fixes; `make vendor` moves it
PIN = "48d368fa557731ad0488c07304dfeba8c07910eb"
MARK = "train_network.py"
READY = ".ready"  # the last thing `make vendor` writes: without it the environment is half built


@dataclass(frozen=True)
class Located:
    directory: Path
    python: Path
    commit: str  # "" where the folder is not a git checkout
    source: str  # who said so: LORAKIT_SD_SCRIPTS, the path of the user's config.toml, vendor/

    @property
    def pinned(self) -> bool:
        return self.commit == PIN

    def faults(self) -> list[Fault]:
        """A checkout other than the pin is used and recorded, with one warning."""
        if self.pinned:
            return []
        found = f"is at {self.commit[:12]}" if self.commit else "has no readable commit"
        what = f"{found}; lorakit was checked against {PIN[:12]}."
        hint = "Options and step counts may differ."
        return [Fault(str(self.directory), what, hint, "kohya-pin", "warning")]


def locate() -> Located | None:
    """The checkout and its Python, or None where there is none. Raises where something is named
    that is not a checkout.
    """
    named = user_setting("sd_scripts")
    directory = at_home(Path(named[0])).absolute() if named else VENDOR / "sd-scripts"
    source = named[1] if named else "vendor/"
    if not (directory / MARK).is_file():
        if named:
            what = f"{source} names {directory}, but there is no {MARK} in it."
            raise SetupError(what, hint=ways_out())
        return None
    python = _python(source)
    return Located(directory, python, head_commit(directory) or "", source) if python else None


def require() -> Located:
    """The checkout, or one message that names the ways out."""
    located = locate()
    if located is None:
        begun = (VENDOR / ".venv").exists()
        lacking = "`make vendor` has not finished" if begun else "neither is set up here"
        what = f"The kohya trainer needs sd-scripts and a Python environment for it; {lacking}."
        raise SetupError(what, hint=ways_out())
    return located


def _python(source: str) -> Path | None:
    named = user_setting("sd_scripts_python")
    if named:
        # not resolved: a venv's python is a link that must stay one
        python = at_home(Path(named[0])).absolute()
        if not os.access(python, os.X_OK):
            what = f"{named[1]} names {python} as sd-scripts' Python, but it cannot be run."
            raise SetupError(what, hint=ways_out())
        return python
    venv = VENDOR / ".venv"
    vendored = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if vendored.exists() and (venv / READY).exists():
        return vendored
    if source != "vendor/":
        what = f"{source} names a checkout, but nothing names its Python."
        raise SetupError(what, hint=ways_out())
    return None


def ways_out() -> str:
    return f"""\
Ways out:
  make vendor          in a clone of lorakit: checks it out, builds vendor/.venv (7 GB on Linux)
  export LORAKIT_SD_SCRIPTS=DIR LORAKIT_SD_SCRIPTS_PYTHON=DIR/venv/bin/python
                       use a checkout you have
  sd_scripts and sd_scripts_python in {config_path()}
                       the same, for good
  trainer = "embedded" in the recipe
                       SD1.5, SDXL and FLUX without sd-scripts"""
