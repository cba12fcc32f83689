"""Every rule by name, which also switches it off: how severe it is and why it matters."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.errors import Fault, RecipeError, Severity, did_you_mean
from lorakit.show import plain


@dataclass(frozen=True)
class DatasetRule:
    name: str
    severity: Severity
    why: str


_PAGE: dict[Any, dict[str, dict[str, str]]] = tomllib.page(__file__, "rules.toml")
RULES = {
    name: DatasetRule(name, severity, why)
    for severity, kinds in _PAGE.items()
    for rules in kinds.values()
    for name, why in rules.items()
}


def fault(rule: str, where: Path | str, what: str, hint: str = "") -> Fault:
    """A fault with its rule's severity; `where` is made safe to print."""
    return Fault(shown(where), what, hint, rule, RULES[rule].severity)


def shown(name: Path | str) -> str:
    """A path as one printable line."""
    return plain(str(name))


def without(faults: Iterable[Fault], off: Collection[str]) -> tuple[Fault, ...]:
    return tuple(item for item in faults if item.rule not in off)


def known_rules(names: Iterable[str], where: str) -> frozenset[str]:
    """The names as a set; an unknown one is refused with the nearest right one."""
    names = list(names)
    wrong = [
        Fault(where, f"no rule is called {name!r}.", did_you_mean(name, RULES))
        for name in names
        if name not in RULES
    ]
    if wrong:
        raise RecipeError("lorakit dataset check --rules lists them.", faults=wrong)
    return frozenset(names)
