"""Every question about one entry: is there such a key, may it stand here, does its value fit?"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lorakit.catalogue.options import Option, options
from lorakit.errors import Fault, did_you_mean
from lorakit.families import FAMILIES
from lorakit.private import holds_password
from lorakit.recipe.layers import Entry
from lorakit.recipe.schema import MEANT, SECTIONS, SUBSET, WRITTEN_BY_US, above, home_of, words_of
from lorakit.recipe.values import fit

ADDRESS = "holds a password in a web address; it would end up in files and records."
ADDRESS_HINT = "Remove it; a program that needs it finds it in its own settings or environment."
ENV_HINT = 'Such as env = { NAME = "value" }.'
HUB = re.compile(r"hf:[^/@\s]+/[^/@\s]+/[^@\s]+")  # without @revision


@dataclass(frozen=True)
class Checker:
    """What may be said for one family under one trainer."""

    family: str
    trainer: str

    @property
    def script(self) -> str:
        return FAMILIES[self.family].by(self.trainer).script

    @cached_property
    def options(self) -> Mapping[str, Option]:
        return options(self.trainer, self.script)

    def known(self, section: str) -> Mapping[str, Option]:
        return self.options if section == "train" else words_of(section, self.family, self.trainer)

    def check(self, entry: Entry) -> tuple[Entry | None, list[Fault]]:
        """The entry with its value as the script wants it, or None and what is wrong."""
        option = self._option(entry)
        if isinstance(option, Fault):
            return None, [option]
        value = entry.value
        if entry.raw and option.type == "str" and not option.many and not isinstance(value, str):
            value = entry.raw
        if (entry.section, entry.key) == ("launch", "env"):
            if not isinstance(value, Mapping):  # said without the value
                return None, [entry.fault("must be a table.", ENV_HINT)]
        elif holds_password(value):
            return None, [entry.fault(ADDRESS, ADDRESS_HINT, "secret-in-recipe")]
        fitted = fit(option, value)
        if fitted.problem:
            return None, [entry.fault(fitted.problem, fitted.hint)]
        if (entry.section, entry.key) == ("dataset", "subset"):
            subsets, faults = _subsets(entry, fitted.value)
            return replace(entry, value=subsets), faults
        if entry.section == "train" and fitted.value == "":
            note = entry.fault("is empty, so it sets nothing.", "", "empty-text", "note")
            return replace(entry, value=""), [note]
        return replace(entry, value=fitted.value), _inside(entry, fitted.value, self)

    def _option(self, entry: Entry) -> Option | Fault:
        key = entry.key
        if entry.section != "train":
            words = words_of(entry.section, self.family, self.trainer)
            return words[key] if key in words else self._unknown_word(entry, words)
        if self._changes_nothing(entry):
            return entry.fault("changes nothing here, and is left out.", "", "no-op", "note")
        if key in WRITTEN_BY_US:
            place = WRITTEN_BY_US[key]
            hint = f"Use {place}." if place else "It goes into the run's own folder."
            return entry.fault("lorakit writes this option itself.", hint, "ours")
        return self.options.get(key) or self._unknown_option(entry)

    def _changes_nothing(self, entry: Entry) -> bool:
        """Off, empty or another script's default, for what this script lacks or lorakit writes."""
        off = entry.value is False or entry.value == ""
        if entry.key in WRITTEN_BY_US:
            return off
        if entry.key in self.options:
            return False
        able = FAMILIES[self.family].trainers
        others = [option for trainer, _, option in _takers(entry.key) if trainer in able]
        return bool(others) and all(off or entry.value == option.default for option in others)

    def _unknown_word(self, entry: Entry, known: Mapping[str, Option]) -> Fault:
        key, section = entry.key, entry.section
        if section == "model" and key in words_of("model"):
            owners = [name for name, one in FAMILIES.items() if key in {w.key for w in one.weights}]
            what = f"{self.family} has no such file; only {' and '.join(owners)}."
            if self.family in owners:
                what = f"the {self.trainer} trainer takes no such file."
            return entry.fault(what, "", "unknown-key")
        hint = above(key)
        if key in self.options and key not in WRITTEN_BY_US:
            hint = f"{key} belongs in [train]."
        elif not hint and home_of(key):
            hint = f"{key} belongs in [{home_of(key)}]."
        hint = hint or did_you_mean(key, known) or f"It knows {', '.join(known)}."
        return entry.fault(f"[{section}] has no such key.", hint, "unknown-key")

    def _unknown_option(self, entry: Entry) -> Fault:
        key, what = entry.key, f"{self.script} has no such option."
        if home_of(key):
            return entry.fault(what, f"{key} belongs in [{home_of(key)}].", "unknown-key")
        takers = _takers(key)
        if other := next((trainer for trainer, family, _ in takers if family == self.family), ""):
            hint = f'Write trainer = "{other}", or leave it out.'
            return entry.fault(f"only the {other} trainer has this option.", hint, "trainer")
        if elsewhere := [family for trainer, family, _ in takers if trainer == self.trainer]:
            return entry.fault(f"{what[:-1]}; {' and '.join(elsewhere)} only.", "", "family")
        if key in SECTIONS:
            hint = f"Such as --set {key}.KEY=VALUE."
            return entry.fault("is a section, not a key.", hint, "unknown-key")
        ours = [name for name in self.options if name not in WRITTEN_BY_US]
        meant = f"Did you mean {MEANT[key]}?" if key in MEANT else ""
        hint = above(key) or meant or did_you_mean(key.replace("-", "_"), ours)
        return entry.fault(what, hint, "unknown-key")


def _takers(key: str) -> list[tuple[str, str, Option]]:
    """Every trainer and family whose script has an option of that name."""
    return [
        (trainer, name, found[key])
        for name, family in FAMILIES.items()
        for trainer in family.trainers
        if key in (found := options(trainer, family.by(trainer).script))
    ]


def known(word: str, words: Iterable[str]) -> str:
    """The nearest word, or all there are."""
    words = list(words)
    return did_you_mean(word, words) or f"There are {', '.join(words)}."


def _inside(entry: Entry, value: Any, who: Checker) -> list[Fault]:
    """What is wrong within a table, or within a path to weights."""
    place = (entry.section, entry.key)
    if place == ("launch", "env"):
        return [fault for name, text in value.items() for fault in _variable(entry, name, text)]
    if place == ("model", "sha256"):
        return _hashes(entry, value, who)
    # What is not a reference at all is reported where weights are looked for.
    if entry.section == "model" and isinstance(value, str) and HUB.fullmatch(value):
        what = "names no revision, so it may be another file tomorrow."
        return [entry.fault(what, f"Write {value}@COMMIT.", "hub", "warning")]
    return []


def _subsets(
    entry: Entry, tables: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """[dataset.subset.FOLDER]: what one folder may have of its own, each option checked."""
    fitted: dict[str, dict[str, Any]] = {}
    faults: list[Fault] = []
    for folder, table in tables.items():
        if not isinstance(table, dict):
            hint = f'Write [dataset.subset."{folder}"] and its options below.'
            faults.append(_bad(entry, folder, "is not a table.", hint))
            continue
        fitted[folder] = {}
        for key, value in table.items():
            name = f"{folder}.{key}"
            if key not in SUBSET:
                what = "one folder cannot have this option of its own."
                faults.append(_bad(entry, name, what, did_you_mean(key, SUBSET)))
                continue
            one = fit(SUBSET[key], value)
            if one.problem:
                faults.append(_bad(entry, name, one.problem, one.hint))
            else:
                fitted[folder][key] = one.value
    return fitted, faults


def _variable(entry: Entry, name: str, text: Any) -> Iterator[Fault]:
    if not name or "=" in name or "\0" in f"{name}{text}":
        what = "no environment can hold this variable."
        yield _bad(entry, name, what, "A name without =, and no NUL.")
    elif not isinstance(text, str):
        right = "" if isinstance(text, (dict, list)) else f'Write {name} = "...".'
        yield _bad(entry, name, "takes a text.", right)


def _hashes(entry: Entry, value: Any, who: Checker) -> list[Fault]:
    weights = FAMILIES[who.family].by(who.trainer).weights
    files = [*(weight.key for weight in weights), "network_weights"]
    named = value if isinstance(value, dict) else {"base": value}
    faults = [
        _bad(entry, key, "is not a file of this recipe.", did_you_mean(key, files))
        for key in named
        if key not in files
    ]
    for key, text in named.items():
        if not re.fullmatch(r"[0-9a-fA-F]{64}", str(text)):
            name = key if isinstance(value, dict) else ""
            faults.append(_bad(entry, name, "is not a SHA-256: 64 hexadecimal digits."))
    return faults


def _bad(entry: Entry, name: str, what: str, hint: str = "") -> Fault:
    return replace(entry, where=f"{entry.where} {name}".rstrip()).fault(what, hint)
