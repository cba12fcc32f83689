"""Preset + recipe + `--set` -> one Resolved in which every value remembers its source. Pure once
the files are read.

Layers, the last wins: family, the preset's base, the preset, the recipe, (a stage,) `--set`. A key
that nobody sets is absent; the script's default is not copied in. One exception: [dataset]
caption_extension is ".txt" where nobody says otherwise, since the script's default (.caption) loses
every caption without a word. It is always found in [dataset], also when it was written in [train].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import at_home
from lorakit.recipe import presets
from lorakit.recipe.checks import Checker
from lorakit.recipe.document import Document, read_document
from lorakit.recipe.layers import Entry, Layer, both_of_a_pair, merge
from lorakit.recipe.model import Resolved, Section, Setting, Stage
from lorakit.recipe.names import name_problem, trigger_problem
from lorakit.recipe.overrides import Override, read_overrides
from lorakit.recipe.placeholders import fill, is_filled
from lorakit.recipe.preset_values import layers_of
from lorakit.recipe.reading import StageLayer, layer_of, sets_layer, stages_of, top_faults
from lorakit.recipe.schema import TRAINERS

TOGETHER = ("learning_rate", "network_dim", "network_alpha")
TOP_KEYS = ("preset", "family", "trainer", "name", "trigger", "notes")


@dataclass(frozen=True)
class Head:
    """What the top level says, once every layer has spoken."""

    preset: presets.Preset | None
    family: str
    trainer: str
    name: str
    trigger: str


def resolve(
    file: Path, *, sets: Sequence[str] = (), unsets: Sequence[str] = ()
) -> tuple[Resolved, tuple[Fault, ...]]:
    """The recipe with every layer applied, and everything that is wrong with it, at once.

    A RecipeError is raised only where nothing can be resolved at all: no file, no TOML, neither a
    preset nor a family.
    """
    file = at_home(file).absolute()
    root = root_of(file)
    document = read_document(file, _label(file, root))
    overrides, faults = read_overrides(sets)
    top, rest = _split_top(overrides)
    faults += top_faults(document, preset=False)
    head, more = _head(document, top, root, told=faults)
    faults += more
    checker = Checker(head.family, head.trainer)
    below, more = layers_of(head.preset, checker)
    faults += more
    own, more = layer_of(document, checker)
    faults += more
    stages, more = stages_of(document, checker)
    faults += more
    last, more = sets_layer(rest, unsets, checker)
    faults += more
    layers = [*below, own]
    merged, notes = merge([*layers, last])
    for layer in (own, *(stage.layer for stage in stages), last):
        faults += both_of_a_pair(layer.entries)
    faults += notes + _together(below, [own, last])
    words = {"trigger": head.trigger, "name": head.name}
    sections, more = _filled(
        merged, words, [entry for layer in (*layers, last) for entry in layer.entries]
    )
    faults += more
    done = [_stage(stage, layers, last, words) for stage in stages]
    faults += [fault for _, more in done for fault in more]
    resolved = Resolved(
        file=file,
        root=root,
        name=head.name,
        trigger=head.trigger,
        preset=head.preset.name if head.preset else "",
        family=head.family,
        trainer=head.trainer,
        stages=tuple(stage for stage, _ in done),
        extra=MappingProxyType(
            {key: document.data[key] for key in ("notes", "subject") if key in document.data}
        ),
        **sections,
    )
    return resolved, tuple(dict.fromkeys(faults))


def root_of(file: Path) -> Path:
    """The project: the parent of a `recipes/` folder, else the recipe's own folder."""
    return file.parent.parent if file.parent.name == "recipes" else file.parent


def _label(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _split_top(overrides: Sequence[Override]) -> tuple[dict[str, Override], list[Override]]:
    top = {
        override.key[0]: override
        for override in overrides
        if len(override.key) == 1 and override.key[0] in TOP_KEYS
    }
    return top, [
        override
        for override in overrides
        if len(override.key) > 1 or override.key[0] not in TOP_KEYS
    ]


def _head(
    document: Document, top: Mapping[str, Override], root: Path, *, told: Sequence[Fault]
) -> tuple[Head, list[Fault]]:
    """Preset, family and trainer decide what everything else is checked against, so they are
    settled first.
    """
    faults: list[Fault] = []

    def said(key: str) -> tuple[str, str]:
        value: Any = top[key].raw if key in top else document.data.get(key, "")
        return (value if isinstance(value, str) else ""), (
            top[key].where if key in top else f"{document.source(key)} {key}"
        )

    preset_name, where = said("preset")
    preset: presets.Preset | None = None
    if preset_name and presets.find(preset_name, root):
        preset = presets.read(preset_name, root)
    elif preset_name:
        near = did_you_mean(preset_name, presets.names(root)) or "`lorakit presets` lists them."
        faults.append(Fault(where, f"no preset is called {preset_name!r}.", near, rule="preset"))
    family, more = _family(
        said("family"), preset, document, [*told, *faults, *(preset.faults if preset else ())]
    )
    faults += more
    trainer, where = said("trainer")
    from_preset = preset.document.data.get("trainer") if preset else None
    default = FAMILIES[family].trainers[0]
    trainer = trainer or (from_preset if isinstance(from_preset, str) else "") or default
    if trainer not in TRAINERS:
        if where.startswith("--set"):  # the recipe's own is told by its type check
            faults.append(
                Fault(
                    where,
                    f"{trainer!r} is not one of {', '.join(TRAINERS)}.",
                    did_you_mean(trainer, TRAINERS),
                    rule="value",
                )
            )
        trainer = default
    if trainer not in FAMILIES[family].trainers:
        ways = " or ".join(FAMILIES[family].trainers)
        faults.append(
            Fault(
                where,
                f"the {trainer} trainer cannot train {family}.",
                f'Write trainer = "{ways}".',
                rule="trainer",
            )
        )
    name, where = said("name")
    name = name or document.path.stem
    if problem := name_problem(name):
        faults.append(Fault(where, problem, rule="name"))
    trigger, where = said("trigger")
    if ("trigger" in top or "trigger" in document.data) and (problem := trigger_problem(trigger)):
        faults.append(Fault(where, problem, rule="trigger"))
    return Head(preset, family, trainer, name, trigger), faults


def _family(
    said: tuple[str, str],
    preset: presets.Preset | None,
    document: Document,
    before: Sequence[Fault],
) -> tuple[str, list[Fault]]:
    """The recipe's word, the preset's where it has none; nothing can be checked without one."""
    own, where = said
    of_preset = preset.family if preset else ""
    faults: list[Fault] = []
    if own and own not in FAMILIES:
        faults.append(
            Fault(
                where,
                f"no family is called {own!r}.",
                did_you_mean(own, FAMILIES) or f"There are {', '.join(FAMILIES)}.",
                rule="family",
            )
        )
    elif own and of_preset in FAMILIES and own != of_preset:
        assert preset is not None
        what = f"preset {preset.name} is for {of_preset}, not {own}."
        faults.append(Fault(where, what, "Leave the family to the preset.", rule="family"))
        return of_preset, faults
    if preset and of_preset not in FAMILIES:
        where = f"{preset.document.label} [about] family"
        what = f"no family is called {of_preset!r}." if of_preset else "the preset says no family."
        faults.append(
            Fault(
                where,
                what,
                did_you_mean(of_preset, FAMILIES) or f"There are {', '.join(FAMILIES)}.",
                rule="family",
            )
        )
    for family in (own, of_preset):
        if family in FAMILIES:
            return family, faults
    faults = [*before, *faults]
    told = {"preset", "family"} & {fault.rule for fault in faults}
    hint = "" if told else 'Write preset = "sdxl", or another that `lorakit presets` lists.'
    message = (
        f"{document.label}: neither a preset nor a family, so nothing says what is to be trained."
    )
    raise RecipeError(message, faults=faults, hint=hint)


def _together(below: Sequence[Layer], own: Sequence[Layer]) -> list[Fault]:
    """Learning rate, rank and alpha act as one number; changing one alone is said aloud, with what
    it comes to.
    """
    before = merge(below)[0]["train"]
    after = merge([*below, *own])[0]["train"]
    changed = [
        key
        for key in TOGETHER
        if key in before and key in after and before[key].value != after[key].value
    ]
    said = {entry.key for layer in own for entry in layer.entries if entry.section == "train"}
    if not changed or said.issuperset(TOGETHER) or not all(key in after for key in TOGETHER):
        return []
    kept = [
        f"{key} = {after[key].value:g} from {after[key].source}"
        for key in TOGETHER
        if key not in changed
    ]
    strength = [
        at["learning_rate"].value * at["network_alpha"].value / max(1, at["network_dim"].value)
        for at in (before, after)
    ]
    if strength[0] == strength[1]:
        return []
    product = f"lr x alpha / rank goes from {strength[0]:.2g} to {strength[1]:.2g}."
    what = f"{' and '.join(changed)} changed, with {' and '.join(kept)}: {product}"
    return [
        Fault(
            f"{after[changed[0]].source} {changed[0]}",
            what,
            "The three act together.",
            rule="together",
            severity="note",
        )
    ]


def _filled(
    merged: Mapping[str, Section], words: Mapping[str, str], entries: Sequence[Entry]
) -> tuple[dict[str, Section], list[Fault]]:
    """Sections with {trigger} and {name} filled in; a fault stands where the value that won was
    written.
    """
    places = {(entry.section, entry.key): entry.where for entry in entries}
    faults: list[Fault] = []
    sections: dict[str, Section] = {}
    for section, settings in merged.items():
        done: dict[str, Setting] = {}
        for key, setting in settings.items():
            value, problems = (
                fill(setting.value, words) if is_filled(section, key) else (setting.value, [])
            )
            done[key] = Setting(value, setting.source)
            faults += [
                Fault(places.get((section, key), setting.source), problem, rule="placeholder")
                for problem in problems
            ]
        sections[section] = MappingProxyType(done)
    return sections, faults


def _stage(
    stage: StageLayer, layers: Sequence[Layer], last: Layer, words: Mapping[str, str]
) -> tuple[Stage, list[Fault]]:
    merged, notes = merge([*layers, stage.layer, last])
    sections, faults = _filled(
        merged, words, [entry for layer in (*layers, stage.layer, last) for entry in layer.entries]
    )
    return Stage(stage.name, sections["dataset"], sections["train"]), [*notes, *faults]
