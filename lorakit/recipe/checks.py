"""Is there such a key, may it stand here, and does its value fit? Every question about one entry,
answered with one fault at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lorakit.catalogue.options import Option, options
from lorakit.errors import Fault, did_you_mean
from lorakit.families import FAMILIES
from lorakit.recipe.layers import Entry
from lorakit.recipe.schema import SECTIONS, SUBSET, WRITTEN_BY_US, above, home_of, words_of
from lorakit.recipe.values import fit, told

HUB = re.compile(r"hf:[^/@\s]+/[^/@\s]+/[^@\s]+(@[^@\s]+)?")


@dataclass(frozen=True)
class Checker:
    """What may be said for one family under one trainer."""

    family: str
    trainer: str

    @property
    def script(self) -> str:
        return FAMILIES[self.family].script

    @cached_property
    def options(self) -> Mapping[str, Option] | None:
        """None where this trainer has no catalogue (yet): then [train] is taken as it is."""
        return catalogue(self.trainer, self.script)

    def known(self, section: str) -> Mapping[str, Option] | None:
        return self.options if section == "train" else words_of(section, self.family)

    def check(self, entry: Entry) -> tuple[Entry | None, list[Fault]]:
        """The entry with its value as the script wants it, or None and what is wrong."""
        option, fault = self._option(entry)
        if fault:
            return None, [fault]
        if option is None:
            return entry, []
        value = entry.value
        if entry.raw and option.type == "str" and not option.many and not isinstance(value, str):
            value = entry.raw
        fitted = fit(option, value)
        if fitted.problem:
            return None, [Fault(entry.where, fitted.problem, fitted.hint, rule="value")]
        if (entry.section, entry.key) == ("dataset", "subset"):
            subsets, faults = _subsets(entry, fitted.value)
            return replace(entry, value=subsets), faults
        return replace(entry, value=fitted.value), _inside(entry, fitted.value, self.family)

    def _option(self, entry: Entry) -> tuple[Option | None, Fault | None]:
        if entry.section != "train":
            known = words_of(entry.section, self.family)
            return (
                (known[entry.key], None)
                if entry.key in known
                else (None, self._unknown_word(entry, known))
            )
        if entry.key in WRITTEN_BY_US:
            place = WRITTEN_BY_US[entry.key]
            hint = f"Use {place}." if place else "It goes into the run's own folder."
            return None, Fault(entry.where, "lorakit writes this option itself.", hint, rule="ours")
        if self.options is None:
            return None, None
        if entry.key in self.options:
            return self.options[entry.key], None
        return None, self._unknown_option(entry)

    def _unknown_word(self, entry: Entry, known: Mapping[str, Option]) -> Fault:
        key, section = entry.key, entry.section
        if section == "model" and key in words_of("model"):
            what = f"{self.family} has no such file; only {_families_with_weight(key)}."
            return Fault(entry.where, what, rule="unknown-key")
        if self.options and key in self.options and key not in WRITTEN_BY_US:
            return Fault(
                entry.where,
                f"[{section}] has no such key.",
                f"{key} belongs in [train].",
                rule="unknown-key",
            )
        hint = above(key) or (
            f"{key} belongs in [{home_of(key)}]." if home_of(key) else did_you_mean(key, known)
        )
        return Fault(
            entry.where,
            f"[{section}] has no such key.",
            hint or f"It knows {', '.join(known)}.",
            rule="unknown-key",
        )

    def _unknown_option(self, entry: Entry) -> Fault:
        key = entry.key
        assert self.options is not None
        if home_of(key):
            return Fault(
                entry.where,
                f"{self.script} has no such option.",
                f"{key} belongs in [{home_of(key)}].",
                rule="unknown-key",
            )
        for other in FAMILIES[self.family].trainers:
            if key in (catalogue(other, self.script) or ()):
                what = f"only the {other} trainer has this option."
                hint = f'Write trainer = "{other}", or leave it out.'
                return Fault(entry.where, what, hint, rule="trainer")
        elsewhere = [
            name
            for name, family in FAMILIES.items()
            if key in (catalogue(self.trainer, family.script) or {})
        ]
        if elsewhere:
            return Fault(
                entry.where,
                f"{self.script} has no such option; {' and '.join(elsewhere)} only.",
                rule="family",
            )
        if key in SECTIONS:
            return Fault(
                entry.where,
                "is a section, not a key.",
                f"Such as --set {key}.KEY=VALUE.",
                rule="unknown-key",
            )
        ours = [name for name in self.options if name not in WRITTEN_BY_US]
        hint = above(key) or _in_kohyas_words(key) or did_you_mean(key.replace("-", "_"), ours)
        return Fault(entry.where, f"{self.script} has no such option.", hint, rule="unknown-key")


def catalogue(trainer: str, script: str) -> Mapping[str, Option] | None:
    try:
        return options(trainer, script)
    except (FileNotFoundError, KeyError):
        return None


def _inside(entry: Entry, value: Any, family: str) -> list[Fault]:
    """What is wrong within a table, or within a path to weights."""
    place = (entry.section, entry.key)
    if place == ("launch", "env"):
        return [*filter(None, (_variable(entry, name, text) for name, text in value.items()))]
    if place == ("model", "sha256"):
        return _hashes(entry, value, family)
    if entry.section == "model" and isinstance(value, str) and value.startswith("hf:"):
        return _hub(entry, value)
    return []


def _subsets(
    entry: Entry, tables: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """[dataset.subset.FOLDER]: the options that one folder may have of its own, each checked like
    any other.
    """
    fitted: dict[str, dict[str, Any]] = {}
    faults: list[Fault] = []
    for folder, table in tables.items():
        if not isinstance(table, dict):
            faults.append(
                _bad(
                    entry,
                    folder,
                    "is not a table.",
                    f'Write [dataset.subset."{folder}"] and its options below.',
                )
            )
            continue
        fitted[folder] = {}
        for key, value in table.items():
            name = f"{folder}.{key}"
            if key not in SUBSET:
                faults.append(
                    _bad(
                        entry,
                        name,
                        "one folder cannot have this option of its own.",
                        did_you_mean(key, SUBSET),
                    )
                )
                continue
            one = fit(SUBSET[key], value)
            if one.problem:
                faults.append(_bad(entry, name, one.problem, one.hint))
            else:
                fitted[folder][key] = one.value
    return fitted, faults


def _variable(entry: Entry, name: str, text: Any) -> Fault | None:
    if not name or "=" in name or "\0" in f"{name}{text}":
        return _bad(
            entry, name, "no environment can hold this variable.", "A name without =, and no NUL."
        )
    if isinstance(text, str):
        return None
    return _bad(
        entry,
        name,
        "takes a text.",
        "" if isinstance(text, (dict, list)) else f"Write {name} = {told(str(text))}.",
    )


def _hashes(entry: Entry, value: Any, family: str) -> list[Fault]:
    files = [weight.key for weight in FAMILIES[family].weights] + ["network_weights"]
    named = value if isinstance(value, dict) else {"base": value}
    faults = [
        _bad(entry, key, "is no file of this recipe.", did_you_mean(key, files))
        for key in named
        if key not in files
    ]
    wrong = [key for key, text in named.items() if not re.fullmatch(r"[0-9a-fA-F]{64}", str(text))]
    return faults + [
        _bad(
            entry,
            key if isinstance(value, dict) else "",
            "is not a SHA-256: 64 hexadecimal digits.",
        )
        for key in wrong
    ]


def _hub(entry: Entry, value: str) -> list[Fault]:
    if "@" not in value and HUB.fullmatch(
        value
    ):  # what is no reference at all is told where weights are looked for
        what = "names no revision, so it may be another file tomorrow."
        return [Fault(entry.where, what, f"Write {value}@COMMIT.", rule="hub", severity="warning")]
    return []


OTHER_WORDS = {
    "lr": "learning_rate",
    "epochs": "max_train_epochs",
    "steps": "max_train_steps",
    "batch": "train_batch_size",
    "batch_size": "train_batch_size",
    "rank": "network_dim",
    "dim": "network_dim",
    "alpha": "network_alpha",
    "optimizer": "optimizer_type",
    "scheduler": "lr_scheduler",
    "precision": "mixed_precision",
    "size": "resolution",
}


def _in_kohyas_words(key: str) -> str:
    return f"Did you mean {OTHER_WORDS[key]}?" if key in OTHER_WORDS else ""


def _bad(entry: Entry, name: str, what: str, hint: str = "") -> Fault:
    return Fault(f"{entry.where} {name}".rstrip(), what, hint, rule="value")


def _families_with_weight(key: str) -> str:
    return " and ".join(
        name
        for name, family in FAMILIES.items()
        if any(weight.key == key for weight in family.weights)
    )
