"""A case to be judged, and the shape of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lorakit.catalogue.options import options
from lorakit.errors import Fault, Severity
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved

ALL = tuple(FAMILIES)
UNET = tuple(name for name, family in FAMILIES.items() if not family.flow)
FLOW = tuple(name for name, family in FAMILIES.items() if family.flow)


@dataclass(frozen=True)
class Case:
    resolved: Resolved
    machine: Machine

    @property
    def family(self) -> str:
        return self.resolved.family

    def said(self, key: str) -> bool:
        return key in self.resolved.train

    def value(self, key: str) -> Any:
        """What the script will see: the setting, else the script's own default."""
        if self.said(key):
            return self.resolved.get(key)
        option = options("kohya", FAMILIES[self.family].script).get(key)
        return option.default if option else None

    def on(self, key: str) -> bool:
        return bool(self.value(key))

    def number(self, key: str) -> float:
        """The value as a number, 0 where there is none: a wrong type is somebody else's fault to
        find.
        """
        value = self.value(key)
        return value if isinstance(value, (int, float)) else 0.0

    def words(self, key: str) -> list[str]:
        """A list of texts, [] where there is none."""
        value = self.value(key)
        return [str(word) for word in value] if isinstance(value, (list, tuple)) else []

    def where(self, key: str) -> str:
        setting = self.resolved.train.get(key)
        if setting is not None:
            return f"{setting.source} [train] {key}"
        return f"{self.recipe} [train] {key}"

    @property
    def recipe(self) -> str:
        file, root = self.resolved.file, self.resolved.root
        return str(file.relative_to(root) if file.is_relative_to(root) else file)

    def sample(self, key: str) -> Any:
        setting = self.resolved.sample.get(key)
        return None if setting is None else setting.value

    def launch(self, key: str) -> Any:
        setting = self.resolved.launch.get(key)
        return None if setting is None else setting.value

    def everywhere(self, key: str) -> Iterator[tuple[str, Any]]:
        """The setting in [train] and in each folder of [dataset.subset], each with where it
        stands.
        """
        if self.on(key):
            yield self.where(key), self.value(key)
        subsets = self.resolved.dataset.get("subset")
        folders = subsets.value if subsets is not None and isinstance(subsets.value, dict) else {}
        for folder, own in folders.items():
            if subsets is not None and isinstance(own, dict) and own.get(key):
                yield f"{subsets.source} [dataset.subset.{folder}] {key}", own[key]

    def anywhere(self, key: str) -> bool:
        return next(self.everywhere(key), None) is not None

    @property
    def caches_text(self) -> bool:
        return self.on("cache_text_encoder_outputs") or self.on(
            "cache_text_encoder_outputs_to_disk"
        )

    @property
    def caches_latents(self) -> bool:
        return self.on("cache_latents") or self.on("cache_latents_to_disk")

    @property
    def cuda(self) -> bool:
        return self.machine.accelerator == "cuda"

    def fault(self, rule: Rule) -> Fault:
        what, hint = (
            text.replace("{value}", str(self.value(rule.key))) for text in (rule.what, rule.hint)
        )
        return Fault(self.where(rule.key), what, hint, rule.name, rule.severity)


@dataclass(frozen=True)
class Rule:
    """`wrong` says whether the case breaks it; `key` is the setting to blame. "{value}" in the
    texts is that setting's value.
    """

    name: str
    key: str
    wrong: Callable[[Case], bool]
    what: str
    hint: str = ""
    families: tuple[str, ...] = ALL
    severity: Severity = "error"


Finder = Callable[
    [Case], Iterable[Fault]
]  # for what one table line cannot say: many settings, or a message that depends
