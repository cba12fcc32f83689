"""The shape of a rule, and what it judges: the options of a recipe on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lorakit.errors import Fault, Severity
from lorakit.families import run_by
from lorakit.machine import Machine
from lorakit.recipe.options import Options

# As far as sd-scripts runs them.
UNET = tuple(name for name, family in run_by("kohya").items() if not family.flow)
FLOW = tuple(name for name, family in run_by("kohya").items() if family.flow)


@dataclass(frozen=True)
class Case(Options):
    machine: Machine

    @property
    def cuda(self) -> bool:
        return self.machine.accelerator == "cuda"


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
    families: tuple[str, ...] = ()  # (): every family of its trainer
    severity: Severity = "error"

    def __call__(self, case: Case) -> Iterable[Fault]:
        if (not self.families or case.family in self.families) and self.wrong(case):
            value = str(case.value(self.key))
            what, hint = (text.replace("{value}", value) for text in (self.what, self.hint))
            yield case.fault(self.key, what, hint, self.name, self.severity)


def warning(
    name: str,
    key: str,
    wrong: Callable[[Case], bool],
    what: str,
    hint: str = "",
    *,
    families: tuple[str, ...] = (),
) -> Rule:
    return Rule(name, key, wrong, what, hint, families, "warning")


# A rule, or what one table line cannot say: many settings, or a message that depends.
Finder = Callable[[Case], Iterable[Fault]]
