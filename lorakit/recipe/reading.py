"""From documents and --set to checked layers: what a preset, a recipe and its stages say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lorakit.catalogue.options import options
from lorakit.errors import Fault, did_you_mean, refused
from lorakit.families import FAMILIES
from lorakit.recipe.checks import Checker, known
from lorakit.recipe.document import Document
from lorakit.recipe.layers import Entry, Layer, Override, both_of_a_pair, merge, read_key
from lorakit.recipe.model import Section
from lorakit.recipe.presets import Preset
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
        elif key == "stage" and not _are_tables(value):
            where = f"{document.source(key)} stage"
            faults.append(Fault(where, "is a list of tables; write [[stage]].", rule="value"))
        elif key in TOP_WORDS and (one := fit(TOP_WORDS[key], value)).problem:
            faults.append(Fault(where, one.problem, one.hint, "value"))
    return faults + (_about_faults(document) if preset else [])


def layers_of(preset: Preset | None, checker: Checker) -> list[Layer]:
    """The layers below a recipe: family, the preset's base, the preset."""
    source = f"family {checker.family}"
    entries = [
        Entry("train", key, value, source, source)
        for key, value in FAMILIES[checker.family].by(checker.trainer).defaults.items()
    ]
    entries.append(Entry("dataset", "caption_extension", ".txt", "lorakit", "lorakit"))
    layers = [Layer(tuple(entries))]
    for page in (preset.base, preset) if preset else ():
        if page:
            layer = layer_of(page.document, checker, source=f"preset {page.name}")
            faults = (*top_faults(page.document, preset=True), *layer.faults)
            layers.append(replace(layer, faults=faults))
    return layers


def preset_values(preset: Preset) -> tuple[Mapping[str, Section], list[Fault]]:
    """What a preset comes to on its own, checked; placeholders stay as written."""
    if preset.family not in FAMILIES:
        where = f"{preset.document.label} [about] family"
        raise refused(
            where, f"no family is called {preset.family!r}.", known(preset.family, FAMILIES)
        )
    layers = layers_of(preset, Checker(preset.family, preset.trainer))
    merged, notes = merge(layers)
    return merged, [*preset.faults, *(one for layer in layers for one in layer.faults), *notes]


def layer_of(document: Document, checker: Checker, *, source: str = "") -> Layer:
    """Its sections, checked. `source` is what its settings name as theirs, if not the line."""
    names = document.data.get("unset", [])
    texts = [one for one in names if isinstance(one, str)] if isinstance(names, list) else []
    unset = _unset(texts, checker, f"{document.source('unset')} unset ")
    return _checked(_entries(document, document.data, checker, source=source), checker, unset)


def stages_of(document: Document, checker: Checker) -> list[Layer]:
    tables = document.data.get("stage", [])
    stages = list[Layer]()
    for index, table in enumerate(tables if _are_tables(tables) else ()):
        at, name = ("stage", str(index)), table.get("name")
        faults = [*_stage_faults(document, at, table)]
        if name in [stage.stage for stage in stages]:
            where = f"{document.source(*at, 'name')} [[stage]] name"
            faults.insert(0, Fault(where, f"two stages are called {name!r}.", rule="stage"))
        said = {key: table[key] for key in STAGE[1:] if key in table}
        layer = _checked([*faults, *_entries(document, said, checker, at)], checker)
        stages.append(replace(layer, stage=str(name or index + 1)))
    return stages


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(table, dict) for table in value)


def _stage_faults(
    document: Document, at: tuple[str, ...], table: Mapping[str, Any]
) -> Iterator[Fault]:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        where = f"{document.source(*at)} [[stage]]"
        yield Fault(where, "has no name.", 'Such as name = "faces".', "stage")
    for key, value in table.items():
        where = f"{document.source(*at, key)} [[stage]] {key}"
        if key not in STAGE:
            hint = did_you_mean(key, STAGE) or "It knows name, model, dataset and train."
            yield Fault(where, "a stage has no such key.", hint, "unknown-key")
        elif key != "name" and not isinstance(value, dict):
            what = f"is a section; write [stage.{key}] on a line of its own."
            yield Fault(where, what, rule="value", section=key)


def sets_layer(overrides: Sequence[Override], unsets: Sequence[str], checker: Checker) -> Layer:
    said = (_set(override, checker) for override in overrides)
    return _checked(said, checker, _unset(unsets, checker, "--unset "))


def _set(override: Override, checker: Checker) -> Entry | Fault:
    place = place_of(override.key, checker)
    if place is None:
        return _no_section(override.where, override.key[0])
    section, key, rest = place
    variable = bool(rest) and section == "launch" and not isinstance(override.value, str)
    value: Any = override.raw if variable else override.value
    for name in reversed(rest):
        value = {name: value}
    return Entry(section, key, value, "--set", override.where, "" if rest else override.raw)


def _checked(
    said: Iterable[Entry | Fault], checker: Checker, unset: Iterable[tuple[str, str] | Fault] = ()
) -> Layer:
    entries, faults, gone = list[Entry](), list[Fault](), list[tuple[str, str]]()
    for one in said:
        if isinstance(one, Fault):
            faults.append(one)
            continue
        entry, more = checker.check(one)
        entries += [entry] if entry else []
        faults += more
    for key in unset:
        if isinstance(key, Fault):
            faults.append(key)
        else:
            gone.append(key)
    return Layer(tuple(entries), tuple(gone), (*faults, *both_of_a_pair(entries)))


def place_of(parts: tuple[str, ...], checker: Checker) -> tuple[str, str, tuple[str, ...]] | None:
    """Section, key and what is deeper. A key that nobody knows counts as an option."""
    if len(parts) > 1:
        section = _home_section(*parts[:2])
        return (section, parts[1], parts[2:]) if section in SECTIONS else None
    key = parts[0]
    home = home_of(key)
    ours = key in WRITTEN_BY_US or key not in checker.options
    if key == "caption_extension" or (home and ours):
        return home, key, ()
    return "train", key, ()


def _home_section(section: str, key: str) -> str:
    """It is always found in [dataset], also where somebody writes it in [train], as kohya does."""
    return "dataset" if (section, key) == ("train", "caption_extension") else section


def _entries(
    document: Document,
    table: Mapping[str, Any],
    checker: Checker,
    at: tuple[str, ...] = (),
    *,
    source: str = "",
) -> Iterator[Entry | Fault]:
    sections = {key: one for key, one in table.items() if key in SECTIONS and isinstance(one, dict)}
    stage = "[[stage]] " if at else ""
    for section, settings in sections.items():
        for key, value in settings.items():
            line = document.source(*at, section, key)
            entry = Entry(
                _home_section(section, key),
                key,
                value,
                source or line,
                f"{line} {stage}[{section}] {key}",
            )
            others = [other for other in sections if other != section and key in sections[other]]
            twice = others and key not in SHARED_WORDS
            if twice and not _right_place(key, section, others, checker):
                what = f"stands in [{others[0]}] too ({document.source(*at, others[0], key)})."
                yield entry.fault(what, "Keep one of the two.", "twice")
            else:
                yield entry


def _right_place(key: str, section: str, others: Sequence[str], checker: Checker) -> bool:
    """Of several sections that hold a key, all but one are at fault."""
    right = home_of(key) or ("train" if key in checker.options else "")
    places = [section, *others]
    return section == right or (right not in places and section == min(places, key=SECTIONS.index))


def _unset(names: Sequence[str], checker: Checker, where: str) -> Iterator[tuple[str, str] | Fault]:
    for name in names:
        parts = read_key(name)
        place = place_of(parts, checker)
        if place is None:
            yield _no_section(where + name, parts[0])
            continue
        section, key, deeper = place
        if deeper:
            what, hint = "only a complete key can be removed.", f"That would be {section}.{key}."
            yield Fault(where + name, what, hint, "override")
            continue
        words = checker.known(section)
        if key not in words:
            hint = f"--set {key}=... changes it." if key in TOP else did_you_mean(key, words)
            yield Fault(where + name, "no section has such a key.", hint, "override")
        yield section, key


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
