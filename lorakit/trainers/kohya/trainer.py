"""sd-scripts as a `Trainer`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers import tokenizers
from lorakit.trainers.base import Script, Work
from lorakit.trainers.checkout import CheckoutTrainer, Located
from lorakit.trainers.continuation import Continuation, Paused
from lorakit.trainers.kohya import rules
from lorakit.trainers.kohya.going_on import go_on_in_kohya
from lorakit.trainers.kohya.locate import HOME

WATCHED = ("diffusers", "transformers", "accelerate")  # whose insides the scripts reach into
_PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.]+)", re.MULTILINE)


class Kohya(CheckoutTrainer):
    HOME = HOME
    TITLE = HOME.title
    RULES = rules.RULES
    UNCHECKED_LATENTS = MappingProxyType({"sd15": "_sd.npz", "sdxl": "_sdxl.npz"})
    SPLIT_OVERLAPS = True
    PRINTS_MEAN_LOSS = True  # over an epoch, with three digits

    def find(self, family: str) -> Script:
        found = super().find(family)
        located = HOME.locate() if found.found else None
        more = version_faults(located) if located else ()
        return replace(found, faults=(*found.faults, *more))

    def settings(self, resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
        names = FAMILIES[resolved.family].tokenizers
        if names and all(map(tokenizers.provides, names)) and not Options(resolved).flag("v2"):
            place = tokenizers.folder().absolute().as_posix()
            why = "lorakit's own copies, so that nothing is downloaded"
            yield "tokenizer_cache_dir", place, why

    def downloads(self, resolved: Resolved) -> list[str]:
        return tokenizers.missing(resolved)

    def prepare(self, work: Work) -> None:
        """Our copies of the tokenizers, where the run counts on them."""
        if Path(str(work.settings.get("tokenizer_cache_dir"))) == tokenizers.folder():
            tokenizers.ensure(FAMILIES[work.family].tokenizers)

    def continuation(self, at: Paused, settings: Mapping[str, Any]) -> Continuation:
        return go_on_in_kohya(at, settings)


def version_faults(located: Located) -> Iterator[Fault]:
    """Whether its environment holds the versions that the checkout was written for."""
    try:
        text = (located.directory / "requirements.txt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    wanted = dict(_PIN.findall(text))
    for name in WATCHED:
        version, there = wanted.get(name, ""), installed(located, name)
        if version and there and _minor(version) != _minor(there):
            what = f"{name} {there} is installed; these scripts were written for {version}."
            hint = f"{located.python} -m pip install {name}=={version}"
            yield Fault(str(located.python), what, hint, f"version-{name}", "warning")


def installed(located: Located, name: str) -> str:
    """Its version, read off the folder that pip left; nothing where that is not certain."""
    home = located.python.parent.parent
    found = {
        path.name.removesuffix(".dist-info").split("-")[1]
        for pattern in ("lib/python3*/site-packages", "Lib/site-packages")
        for path in home.glob(f"{pattern}/{name}-*.dist-info")
    }
    return found.pop() if len(found) == 1 else ""


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
