"""From a document to entries: sections, unknown words, one key in two sections, stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorakit.catalogue.options import options
from lorakit.errors import Fault, did_you_mean
from lorakit.families import FAMILIES
from lorakit.recipe.checks import Checker, known
from lorakit.recipe.document import Document
from lorakit.recipe.layers import Entry, Layer
from lorakit.recipe.overrides import Override, read_key
from lorakit.recipe.schema import (
    ABOUT,
    PRESET_TOP,
    PROPOSED,
    SECTIONS,
    SHARED_WORDS,
    STAGE,
    TOP,
    TOP_WORDS,
    WRITTEN_BY_US,
    above,
    home_of,
)
from lorakit.recipe.values import fit

FOREIGN = {
    "about": "[about] belongs in a preset.",
    "extends": 'Only a preset extends another; a recipe names one: preset = "...".',
}


@dataclass(frozen=True)
class StageLayer:
    name: str
    layer: Layer


def top_faults(document: Document, *, preset: bool) -> list[Fault]:
    """Unknown words, sections that are not tables, and values on the top level that do not fit."""
    words = PRESET_TOP if preset else TOP
    pasted = [key for key in document.data if key not in words and _is_option(key)]
    faults: list[Fault] = []
    if pasted:
        where = f"{document.source(pasted[0])} {', '.join(pasted[:4])}"
        where += f" and {len(pasted) - 4} more" if len(pasted) > 4 else ""
        what = "these are top-level kohya keys; they belong under [train]:"
        faults.append(Fault(where, what, f"lorakit import {document.label}", "unknown-key"))
    for key, value in document.data.items():
        if key in pasted:
            continue
        is_table = isinstance(value, dict)
        where = f"{document.source(key)} {f'[{key}]' if is_table else key}"
        if key not in words:
            what, hint = _unknown_top(key, words, is_table=is_table)
            faults.append(Fault(where, what, hint, "unknown-key"))
        elif key in SECTIONS and not is_table:
            what = f"is a section; write [{key}] on a line of its own."
            faults.append(Fault(where, what, rule="value", section=key))
        elif key in TOP_WORDS and (one := fit(TOP_WORDS[key], value)).problem:
            faults.append(Fault(where, one.problem, one.hint, "value"))
    return faults + (_about_faults(document) if preset else [])


def layer_of(
    document: Document, checker: Checker, *, source: str = ""
) -> tuple[Layer, list[Fault]]:
    """Its sections, checked. `source` is what its settings name as theirs, if not the line."""
    sections = {
        key: value
        for key, value in document.data.items()
        if key in SECTIONS and isinstance(value, dict)
    }
    layer, faults = _entries(document, sections, (), checker, source)
    unset, more = _unset_of(document, checker)
    return Layer(source or document.label, layer.entries, unset), [*faults, *more]


def stages_of(document: Document, checker: Checker) -> tuple[list[StageLayer], list[Fault]]:
    tables = document.data.get("stage", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        where = f"{document.source('stage')} stage"
        return [], [Fault(where, "is a list of tables; write [[stage]].", rule="value")]
    stages: list[StageLayer] = []
    faults: list[Fault] = []
    for index, table in enumerate(tables):
        at = ("stage", str(index))
        name = table.get("name")
        if not isinstance(name, str) or not name:
            where = f"{document.source(*at)} [[stage]]"
            faults.append(Fault(where, "has no name.", 'Such as name = "faces".', "stage"))
        if name in [stage.name for stage in stages]:
            where = f"{document.source(*at, 'name')} [[stage]] name"
            faults.append(Fault(where, f"two stages are called {name!r}.", rule="stage"))
        faults += _stage_faults(document, at, table)
        sections = {key: table[key] for key in STAGE[1:] if isinstance(table.get(key), dict)}
        layer, more = _entries(document, sections, at, checker, "")
        stages.append(StageLayer(str(name or index + 1), layer))
        faults += more
    return stages, faults


def _stage_faults(
    document: Document, at: tuple[str, ...], table: Mapping[str, Any]
) -> Iterator[Fault]:
    for key, value in table.items():
        where = f"{document.source(*at, key)} [[stage]] {key}"
        if key not in STAGE:
            hint = did_you_mean(key, STAGE) or "It knows name, model, dataset and train."
            yield Fault(where, "a stage has no such key.", hint, "unknown-key")
        elif key != "name" and not isinstance(value, dict):
            what = f"is a section; write [stage.{key}] on a line of its own."
            yield Fault(where, what, rule="value", section=key)


def sets_layer(
    overrides: list[Override], unsets: Sequence[str], checker: Checker
) -> tuple[Layer, list[Fault]]:
    entries: list[Entry] = []
    faults: list[Fault] = []
    for override in overrides:
        place = place_of(override.key, checker)
        if place is None:
            faults.append(_no_section(override.where, override.key[0]))
            continue
        section, key, rest = place
        text = bool(rest) and section == "launch"  # an environment variable
        value: Any = override.raw if text else override.value
        if isinstance(override.value, str):
            value = override.value
        for name in reversed(rest):
            value = {name: value}
        raw = "" if rest else override.raw
        checked, more = checker.check(Entry(section, key, value, "--set", override.where, raw))
        entries += [checked] if checked else []
        faults += more
    gone, more = _unset(unsets, checker, "--unset ")
    return Layer("--set", tuple(entries), gone), [*faults, *more]


def place_of(parts: tuple[str, ...], checker: Checker) -> tuple[str, str, tuple[str, ...]] | None:
    """Section, key and what is deeper. A key that nobody knows counts as an option."""
    if len(parts) > 1:
        return (parts[0], parts[1], parts[2:]) if parts[0] in SECTIONS else None
    key = parts[0]
    home = home_of(key)
    ours = key in WRITTEN_BY_US or key not in (checker.options or {})
    if key == "caption_extension" or (home and ours):
        return home, key, ()
    return "train", key, ()


def _entries(
    document: Document,
    sections: Mapping[str, Any],
    at: tuple[str, ...],
    checker: Checker,
    source: str,
) -> tuple[Layer, list[Fault]]:
    entries: list[Entry] = []
    faults: list[Fault] = []
    stage = "[[stage]] " if at else ""
    for section, table in sections.items():
        for key, value in table.items():
            line = document.source(*at, section, key)
            home = "dataset" if (section, key) == ("train", "caption_extension") else section
            entry = Entry(home, key, value, source or line, f"{line} {stage}[{section}] {key}")
            others = [other for other in sections if other != section and key in sections[other]]
            twice = others and key not in SHARED_WORDS
            if twice and not _right_place(key, section, others, checker):
                what = f"stands in [{others[0]}] too ({document.source(*at, others[0], key)})."
                faults.append(entry.fault(what, "Keep one of the two.", "twice"))
                continue
            checked, more = checker.check(entry)
            entries += [checked] if checked else []
            faults += more
    return Layer(source or document.label, tuple(entries)), faults


def _right_place(key: str, section: str, others: Sequence[str], checker: Checker) -> bool:
    """Of several sections that hold a key, all but one are at fault."""
    right = home_of(key) or ("train" if checker.options and key in checker.options else "")
    places = [section, *others]
    return section == right or (right not in places and section == min(places, key=SECTIONS.index))


def _unset_of(
    document: Document, checker: Checker
) -> tuple[tuple[tuple[str, str], ...], list[Fault]]:
    names = document.data.get("unset", [])
    texts = [one for one in names if isinstance(one, str)] if isinstance(names, list) else []
    return _unset(texts, checker, f"{document.source('unset')} unset ")


def _unset(
    names: Sequence[str], checker: Checker, where: str
) -> tuple[tuple[tuple[str, str], ...], list[Fault]]:
    gone: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for name in names:
        parts = read_key(name)
        place = place_of(parts, checker)
        if place is None:
            faults.append(_no_section(where + name, parts[0]))
            continue
        section, key, deeper = place
        if deeper:
            what, hint = "only a complete key can be removed.", f"That would be {section}.{key}."
            faults.append(Fault(where + name, what, hint, "override"))
            continue
        words = checker.known(section)
        if words is not None and key not in words:
            hint = f"--set {key}=... changes it." if key in TOP else did_you_mean(key, words)
            faults.append(Fault(where + name, "no section has such a key.", hint, "override"))
        gone.append((section, key))
    return tuple(gone), faults


def _is_option(key: str) -> bool:
    return any(key in options(one.trainers[0], one.script) for one in FAMILIES.values())


def _unknown_top(key: str, words: tuple[str, ...], *, is_table: bool) -> tuple[str, str]:
    if key in FOREIGN:
        return "does not belong in a recipe.", FOREIGN[key]
    near, home = did_you_mean(key, SECTIONS if is_table else words), home_of(key)
    if is_table:
        sections = ", ".join(f"[{name}]" for name in SECTIONS)
        return "there is no such section.", near or f"There are {sections} and [[stage]]."
    place = f"{key} belongs in [{home}]." if home else "Options belong in [train]."
    return "there is no such key outside the sections.", near or place


def _about_faults(document: Document) -> list[Fault]:
    about, words = document.data.get("about"), (*ABOUT, *PROPOSED)
    if not isinstance(about, dict):
        what, hint = "a preset says in [about] what it is for.", f"Keys: {', '.join(ABOUT)}."
        return [Fault(document.source("about"), what, hint, "preset")]
    return [
        Fault(
            f"{document.source('about', key)} [about] {key}",
            "takes a text." if key in words else "[about] has no such key.",
            "" if key in words else above(key) or did_you_mean(key, words),
            "preset",
        )
        for key, value in about.items()
        if key not in words or not isinstance(value, str)
    ]


def _no_section(where: str, word: str) -> Fault:
    return Fault(where, f"there is no section [{word}].", known(word, SECTIONS), "override")
