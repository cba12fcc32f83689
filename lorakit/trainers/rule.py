"""The shape of a rule, what it judges (the options of a recipe on one machine), and what several
rules say alike.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lorakit.errors import Fault, Severity
from lorakit.families import FAMILIES, run_by
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

    def asks(self, key: str) -> bool:
        """Some layer sets it, and not to false or 0."""
        return self.is_set(key) and self.flag(key)


@dataclass(frozen=True)
class Rule:
    """`wrong` says whether the case breaks it; `key` is the setting to blame, {value} its value."""

    name: str
    key: str
    wrong: Callable[[Case], bool]
    what: str
    hint: str = ""
    families: tuple[str, ...] = ()  # (): every family of its trainer
    severity: Severity = "error"
    where: Mapping[str, str] = field(default_factory=dict)  # only where other settings say so

    def __call__(self, case: Case) -> Iterable[Fault]:
        meant = all(case.value(key) == value for key, value in self.where.items())
        if meant and (not self.families or case.family in self.families) and self.wrong(case):
            what = self.what.replace("{value}", str(case.value(self.key)))
            yield case.fault(self.key, what, self.hint, self.name, self.severity)


# A rule, or what one table line cannot say: many settings, or a message that depends.
Finder = Callable[[Case], Iterable[Fault]]
warning = partial(Rule, severity="warning")

# What many rules say, of other settings each. `limits` are `families` and `severity`.


def unwanted(name: str, key: str, what: str = "", hint: str = "", **limits: Any) -> Rule:
    """It should not be on at all."""
    return Rule(name, key, lambda c: c.asks(key), what, hint, **limits)


def needs(name: str, key: str, *others: str, **limits: Any) -> Rule:
    """It means nothing without one of the others."""
    verb = "has no effect without" if "severity" in limits else "needs"
    *most, last = others
    words = f"{', '.join(most)} or {last}" if most else last
    return Rule(
        name,
        key,
        lambda c: c.anywhere(key) and not any(map(c.anywhere, others)),
        f"{verb} {words}.",
        f"Set {others[0]}, or remove {key}.",
        **limits,
    )


def apart(name: str, key: str, other: str, **limits: Any) -> Rule:
    """The two do not go together."""
    what = f"cannot be combined with {other}."
    return Rule(name, key, lambda c: c.asks(key) and c.asks(other), what, "Keep one.", **limits)


def unset(name: str, key: str, *others: str, **limits: Any) -> Rule:
    """It has to be said, unless one of the others is on."""
    what = "is not set."
    return Rule(
        name, key, lambda c: not (c.is_set(key) or any(map(c.flag, others))), what, **limits
    )


def on_cuda(name: str, key: str, **limits: Any) -> Rule:
    what, hint = "needs a CUDA card; this machine has none.", f"Remove {key} here."
    return Rule(name, key, lambda c: c.asks(key) and not c.cuda, what, hint, **limits)


def swaps_at_most(rule: str, most: dict[str, int]) -> Rule:
    """`most`: family -> blocks that it can spare."""
    known = " and ".join(f"{count} for {FAMILIES[name].title}" for name, count in most.items())
    return Rule(
        rule,
        "blocks_to_swap",
        lambda c: c.number("blocks_to_swap") > most[c.family],
        "{value} is more than the model can spare.",
        f"The most is {known}.",
        tuple(most),
    )


def in_precision(name: str, key: str, *formats: str, **limits: Any) -> Rule:
    """It trains in these alone."""
    what = f'needs mixed_precision = "{formats[0]}"'
    what += "".join(f' (or "{one}")' for one in formats[1:])
    hint = f'Set mixed_precision = "{formats[0]}".'
    return Rule(
        name, key, lambda c: c.asks(key) and c.precision not in formats, f"{what}.", hint, **limits
    )


def not_on(
    name: str, accelerator: str, precision: str, what: str, other: str = '"no"', **limits: Any
) -> Rule:
    """A number format that a kind of device cannot do, and which to take there instead."""
    return Rule(
        name,
        "mixed_precision",
        lambda c: (c.machine.accelerator, c.precision) == (accelerator, precision),
        what,
        f"Set mixed_precision = {other}.",
        **limits,
    )


def rules_of(table: Iterable[Mapping[str, Any]]) -> Iterator[Rule]:
    """Of a page that says them as data, such as kohya/rules/options.toml."""
    kinds = {"unet": UNET, "flow": FLOW}
    for one in table:
        limits = {word: one[word] for word in ("severity", "families") if word in one}
        if limits.get("families") in kinds:
            limits["families"] = kinds[one["families"]]
        texts = {word: one[word] for word in ("what", "hint") if word in one}
        for key in one["options"]:
            for rule in _forms(one, one["rule"], key, limits):
                yield replace(rule, **texts, where=one.get("where", {}))


def _forms(
    one: Mapping[str, Any], name: str, key: str, limits: Mapping[str, Any]
) -> Iterator[Rule]:
    if "beside" in one:
        yield from (apart(name, key, other, **limits) for other in one["beside"])
    elif "without" in one:
        yield needs(name, key, *one["without"], **limits)
    elif "only_in" in one:
        yield in_precision(name, key, *one["only_in"], **limits)
    elif "unless" in one:
        yield unset(name, key, *one["unless"], **limits)
    elif "never" in one:
        yield Rule(name, key, lambda c: c.value(key) in one["never"], one["what"], **limits)
    elif "always" in one:
        yield Rule(name, key, lambda c: c.value(key) != one["always"], one["what"], **limits)
    else:
        yield (on_cuda if "only_on" in one else unwanted)(name, key, **limits)
