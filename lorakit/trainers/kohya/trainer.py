"""sd-scripts as a `Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.base import Script, Work
from lorakit.trainers.checkout import CheckoutTrainer
from lorakit.trainers.continuation import Continuation, Paused
from lorakit.trainers.kohya import rules, tokenizers
from lorakit.trainers.kohya.going_on import go_on_in_kohya
from lorakit.trainers.kohya.locate import HOME
from lorakit.trainers.kohya.requirements import version_faults


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
