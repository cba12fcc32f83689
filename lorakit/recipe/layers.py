"""Layers of settings: a later one covers an earlier one and leaves no half of it standing; the last
is what `--set` and `--unset` say. In prompts and captions, `{trigger}` and `{name}` are filled in;
`{a|b}` is the trainer's own.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorakit import tomllib
from lorakit.errors import Fault, Severity, nearest
from lorakit.recipe.model import Section, Setting
from lorakit.recipe.schema import SECTIONS


@dataclass(frozen=True)
class Entry:
    """One key of one layer, the source that its Setting will have, and where its faults are."""

    section: str
    key: str
    value: Any
    source: str
    where: str
    raw: str = ""  # as typed after --set

    def fault(
        self, what: str, hint: str = "", rule: str = "value", severity: Severity = "error"
    ) -> Fault:
        return Fault(self.where, what, hint, rule, severity, self.section, self.key)


@dataclass(frozen=True)
class Layer:
    """`unset` names what this layer takes away from those below it, before it adds its own."""

    entries: tuple[Entry, ...] = ()
    unset: tuple[tuple[str, str], ...] = ()  # (section, key)
    faults: tuple[Fault, ...] = ()  # of what it says; what is refused is no entry
    stage: str = ""  # the name of the stage that it is


# Only one of each group can be meant; the scripts silently prefer the first.
EITHER_OR: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("train", ("max_train_epochs", "max_train_steps")),
    ("sample", ("every_n_epochs", "every_n_steps")),
)
BOTH: Mapping[str, str] = {"train": "steps-and-epochs", "sample": "sample-both"}  # the rule
# Arguments that mean nothing, or an error, to another owner.
BELONGS_TO: Mapping[str, tuple[str, ...]] = {
    "optimizer_type": ("optimizer_args",),
    "lr_scheduler": ("lr_scheduler_args", "lr_scheduler_num_cycles"),
    "network_module": ("network_args",),
}

_BRACES = re.compile(r"\{([^{}|]*)\}")
# Filled in, as every text of [sample] and [dataset.subset.*] is.
FILLED = (
    *("caption_prefix", "caption_suffix", "output_name", "training_comment"),
    *("log_prefix", "wandb_run_name"),
)

Merged = dict[str, dict[str, Setting]]


def merge(layers: Sequence[Layer]) -> tuple[dict[str, Section], list[Fault]]:
    """The last word on every key, and a note where a key had to go with its partner."""
    merged: Merged = {section: {} for section in SECTIONS}
    notes: list[Fault] = []
    for layer in layers:
        for section, key in layer.unset:
            merged[section].pop(key, None)
        for entry in layer.entries:
            notes += _make_room(merged, entry, layer.entries)
        for entry in layer.entries:
            merged[entry.section][entry.key] = _over(merged[entry.section].get(entry.key), entry)
    return dict(merged), notes


def both_of_a_pair(entries: Iterable[Entry]) -> list[Fault]:
    """One layer that sets two keys of which only one can count."""
    by_place = {(entry.section, entry.key): entry for entry in entries}
    faults = []
    for section, keys in EITHER_OR:
        said = [by_place[section, key] for key in keys if (section, key) in by_place]
        if len(said) > 1:
            first, last = said[0], said[-1]
            what = f"is overridden by {first.key}, which is set too."
            faults.append(last.fault(what, "Keep one.", BOTH[section], "warning"))
    return faults


def _make_room(merged: Merged, entry: Entry, siblings: Sequence[Entry]) -> list[Fault]:
    own = {one.key for one in siblings if one.section == entry.section}
    gone: list[str] = []
    for section, keys in EITHER_OR:
        if section == entry.section and entry.key in keys:
            gone += [key for key in keys if key != entry.key and key not in own]
    before = merged[entry.section].get(entry.key)
    if entry.section == "train" and before is not None and before.value != entry.value:
        gone += [key for key in BELONGS_TO.get(entry.key, ()) if key not in own]
    notes = []
    for key in gone:
        lost = merged[entry.section].pop(key, None)
        if lost is not None:
            what = f"{key} from {lost.source} is left out, because it does not go with {entry.key}"
            notes.append(entry.fault(f"{what} here.", "", "replaced", "note"))
    return notes


def _over(before: Setting | None, entry: Entry) -> Setting:
    """Tables (env, subset, rules) are layered key by key; everything else is replaced."""
    if before is None or not (isinstance(before.value, dict) and isinstance(entry.value, dict)):
        return Setting(entry.value, entry.source)
    return Setting(_deep(before.value, entry.value), f"{before.source}, {entry.source}")


def _deep(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: _deep(below.get(key), one) for key, one in above.items()}}


def filled(
    layers: Sequence[Layer], words: Mapping[str, str]
) -> tuple[dict[str, Section], list[Fault]]:
    """Merged, {trigger} and {name} filled in; an unknown word is a fault where it was written."""
    merged, faults = merge(layers)
    places = {(one.section, one.key): one for layer in layers for one in layer.entries}
    for section, settings in merged.items():
        merged[section] = done = dict(settings)
        for key, setting in settings.items():
            if _is_filled(section, key):
                value, problems = fill(setting.value, words)
                done[key] = Setting(value, setting.source)
                place = places[section, key]
                faults += [place.fault(problem, "", "placeholder") for problem in problems]
    return merged, faults


def fill(value: Any, words: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The value with every word filled in, and one message for each that nobody knows."""
    problems: list[str] = []

    def put(match: re.Match[str]) -> str:
        word = match[1].strip()
        if words.get(word):
            return words[word]
        if word in words:
            problems.append(f"{match[0]} stands here, and the recipe has no {word}.")
        else:
            near = nearest(word, words)
            known = " and ".join(f"{{{one}}}" for one in words)
            hint = f"Did you mean {{{near}}}?" if near else f"There are {known}."
            problems.append(f"{match[0]} is not a word that can be filled in. {hint}")
        return match[0]

    def walk(item: Any) -> Any:
        if isinstance(item, str):
            return _BRACES.sub(put, item)
        if isinstance(item, list):
            return [walk(one) for one in item]
        if isinstance(item, dict):
            return {key: walk(one) for key, one in item.items()}
        return item

    return walk(value), problems


def _is_filled(section: str, key: str) -> bool:
    if section == "train":
        return key in FILLED or key.startswith("metadata_")
    return section == "sample" or (section, key) == ("dataset", "subset")


@dataclass(frozen=True)
class Override:
    """One `--set`. `raw` is the value as typed, for options that take text."""

    key: tuple[str, ...]
    value: Any
    raw: str

    @property
    def where(self) -> str:
        return f"--set {'.'.join(self.key)}"


def read_overrides(sets: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    found: list[Override] = []
    faults: list[Fault] = []
    for text in sets:
        key, equals, raw = text.partition("=")
        parts = read_key(key)
        if not equals or not all(parts):
            hint = "Such as --set train.network_dim=16."
            faults.append(Fault(f"--set {text}", "is not KEY=VALUE.", hint, "override"))
        else:
            found.append(Override(parts, read_value(raw.strip()), raw.strip()))
    return found, faults


def read_key(text: str) -> tuple[str, ...]:
    """The parts between the dots; a part that holds dots itself may be quoted, as in TOML."""
    parts = re.split(r"""\.(?=(?:[^"]*"[^"]*")*[^"]*$)""", text)
    return tuple(part.strip().strip('"') for part in parts)


def read_value(raw: str) -> Any:
    """The TOML value, or the bare text where it is none: `bf16`, a path, a date as a name."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return raw
    return raw if isinstance(value, (dt.date, dt.time)) or "\n" in raw else value
