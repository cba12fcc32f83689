"""Where a trainer's checkout and its Python are: environment first, then the user's config, then
vendor/.
"""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorakit.catalogue import checkout
from lorakit.catalogue.checkout import head_commit, named_checkout
from lorakit.config import CHECKOUTS, config_path, user_setting
from lorakit.errors import Fault, LorakitError, SetupError
from lorakit.families import FAMILIES
from lorakit.files import at_home
from lorakit.trainers.base import CodeChange, Script, Trainer

READY = ".ready"  # the last thing `make vendor` writes: without it the environment is half built


def sites_of(python: Path) -> list[Path]:
    """The folders into which pip installs for that interpreter."""
    home = python.parent.parent
    return [*home.glob("lib/python3*/site-packages"), *home.glob("Lib/site-packages")]


def packages_of(python: Path) -> dict[str, str]:
    """Name and version of everything in its environment, from folder names alone."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for entry in sorted(one for site in sites_of(python) for one in site.glob("*.dist-info")):
            name, _, version = entry.name.removesuffix(".dist-info").rpartition("-")
            if name:
                found[name.replace("_", "-").lower()] = version
    return found


@dataclass(frozen=True)
class Located:
    directory: Path
    python: Path
    commit: str  # "" where the folder is not a git checkout
    home: "Home"

    @property
    def pinned(self) -> bool:
        return self.commit == self.home.pin

    def faults(self) -> list[Fault]:
        """A checkout other than the pin is used and recorded, with one warning."""
        if self.pinned:
            return []
        found = f"is at {self.commit[:12]}" if self.commit else "has no readable commit"
        what = f"{found}; lorakit was checked against {self.home.pin[:12]}."
        hint = "Options and step counts may differ."
        return [Fault(str(self.directory), what, hint, f"{self.home.trainer}-pin", "warning")]


@dataclass(frozen=True)
class Home:
    """Of one trainer: what its checkout is called, how one is known, and who may name it."""

    title: str  # "sd-scripts"
    trainer: str
    venv: str  # under vendor/
    mark: str  # a file that only such a checkout has
    pin: str  # `make` moves it
    set_up: str  # how lorakit sets it up, as the first of the ways out
    not_there: str  # what to do where there is none, as a plan says it
    otherwise: str = ""  # the last of the ways out

    @property
    def setting(self) -> str:
        """sd_scripts: in the user's config.toml; LORAKIT_SD_SCRIPTS in the environment."""
        return CHECKOUTS[self.trainer][0]

    @property
    def word(self) -> str:
        """In the names of rules."""
        return self.setting.replace("_", "-")

    @property
    def folder(self) -> Path:
        return checkout.VENDOR / CHECKOUTS[self.trainer][1]

    def locate(self) -> Located | None:
        """The checkout and its Python, or None where there is none. Raises where something is
        named that is not a checkout.
        """
        directory, source = named_checkout(self.trainer)
        if not (directory / self.mark).is_file():
            if source:
                what = f"{source} names {directory}, but there is no {self.mark} in it."
                raise SetupError(what, hint=self.ways())
            return None
        python = self._python(source)
        commit = head_commit(directory) or ""
        return Located(directory, python, commit, self) if python else None

    def known(self) -> Located | None:
        """None also where what is named is none: that is told where the trainer is looked for."""
        try:
            return self.locate()
        except SetupError:
            return None

    def require(self) -> Located:
        """The checkout, or one message that names the ways out."""
        located = self.locate()
        if located is None:
            begun = (checkout.VENDOR / self.venv).exists()
            lacking = "its set-up has not finished" if begun else "neither is set up here"
            what = f"{self.title} and a Python environment for it are needed; {lacking}."
            raise SetupError(what, hint=self.ways())
        return located

    def _python(self, source: str) -> Path | None:
        named = user_setting(f"{self.setting}_python")
        if named:
            # not resolved: a venv's python is a link that must stay one
            python = at_home(Path(named[0])).absolute()
            if not os.access(python, os.X_OK):
                what = f"{named[1]} names {python} as the Python of {self.title}, but it cannot be"
                raise SetupError(f"{what} run.", hint=self.ways())
            return python
        venv = checkout.VENDOR / self.venv
        vendored = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        if vendored.exists() and (venv / READY).exists():
            return vendored
        if source:
            what = f"{source} names a checkout, but nothing names its Python."
            raise SetupError(what, hint=self.ways())
        return None

    def ways(self) -> str:
        variable = f"LORAKIT_{self.setting.upper()}"
        return f"""\
Ways out:
{self.set_up}
  export {variable}=DIR {variable}_PYTHON=DIR/venv/bin/python
                       use a checkout you have
  {self.setting} and {self.setting}_python in {config_path()}
                       the same, for good{self.otherwise}"""


class CheckoutTrainer(Trainer):
    """Whose scripts are in a checkout of their own."""

    HOME: Home
    PLACE = ""  # of its scripts in the checkout

    def find(self, family: str) -> Script:
        """The script, or where it would be."""
        home, name = self.HOME, FAMILIES[family].by(self.HOME.trainer).script
        where = f"trainer = {home.trainer}"
        try:
            located, said = home.locate(), list[Fault]()
        except LorakitError as error:
            located, said = None, [Fault(where, error.message, "", f"{home.word}-place")]
        if located is None:
            what = f"no {home.title} checkout is configured; the plan stands, but `lorakit train`"
            what, rule = f"{what} would stop.", f"no-{home.word}"
            said.append(Fault(where, what, home.not_there, rule, "note"))
            return Script(home.folder / self.PLACE / name, found=False, faults=tuple(said))
        script, said = located.directory / self.PLACE / name, located.faults()
        if not script.is_file():
            what = "there is no such script in this checkout."
            said.append(Fault(str(script), what, "", "no-script"))
        return Script(script, python=located.python, commit=located.commit, faults=tuple(said))

    def changed_since(self, script: Path, commit: str, _lorakit: str) -> CodeChange | None:
        """Whether the checkout that holds this script is at another commit than the recorded."""
        place = script.parents[len(PurePosixPath(self.PLACE).parts)]
        now = head_commit(place)
        if not commit or now == commit:
            return None
        return CodeChange(f"{self.HOME.title} in {place}", commit[:12], now and now[:12])
