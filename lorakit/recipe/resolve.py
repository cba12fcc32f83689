"""Preset + recipe + `--set` -> one Resolved in which every value remembers its source. Pure once
the files are read.

Layers, the last wins: family, the preset's base, the preset, the recipe, (a stage,) `--set`. A key
that nobody sets is absent, but for [dataset] caption_extension, which is ".txt" then: the script's
own default (.caption) loses every caption silently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import at_home
from lorakit.portable import name_problem, trigger_problem
from lorakit.recipe import presets
from lorakit.recipe.checks import Checker, known
from lorakit.recipe.document import Document, read_document
from lorakit.recipe.layers import Layer, Override, filled, merge, read_overrides
from lorakit.recipe.model import Consent, Resolved, Stage, Subject
from lorakit.recipe.reading import layer_of, layers_of, sets_layer, stages_of, top_faults
from lorakit.recipe.schema import SUBJECT, TRAINERS
from lorakit.recipe.values import fit

TOGETHER = ("learning_rate", "network_dim", "network_alpha")
TOP_KEYS = ("preset", "family", "trainer", "name", "trigger", "notes")
CONSENT = ("by", "date", "scope")


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
    """With every layer applied, and everything that is wrong, at once. Raises only where nothing
    can be resolved at all: no file, no TOML, neither a preset nor a family.
    """
    file = at_home(file).absolute()
    root = root_of(file)
    document = read_document(file, file.relative_to(root).as_posix())
    overrides, faults = read_overrides(sets)
    top = {one.key[0]: one for one in overrides if _of_the_head(one)}
    faults += top_faults(document, preset=False)
    head = _head(document, top, root, faults)
    checker = Checker(head.family, head.trainer)
    below, own = layers_of(head.preset, checker), layer_of(document, checker)
    stages = stages_of(document, checker)
    last = sets_layer([one for one in overrides if not _of_the_head(one)], unsets, checker)
    faults += [fault for layer in (*below, own, *stages, last) for fault in layer.faults]
    words = {"trigger": head.trigger, "name": head.name}
    sections, more = filled([*below, own, last], words)
    faults += [*more, *_together(below, [own, last])]
    done = []
    for stage in stages:
        said, more = filled([*below, own, stage, last], words)
        anew = any((entry.section, entry.key) == ("model", "base") for entry in stage.entries)
        done.append(Stage(stage.stage, said["dataset"], said["train"], said["model"], anew))
        faults += more
    subject, more = read_subject(document)
    faults += more
    remarks = document.data.get("notes")
    resolved = Resolved(
        file=file,
        root=root,
        name=head.name,
        trigger=head.trigger,
        preset=head.preset.name if head.preset else "",
        family=head.family,
        trainer=head.trainer,
        stages=tuple(done),
        notes=remarks if isinstance(remarks, str) else "",
        subject=subject,
        sets=tuple(sets),
        unsets=tuple(unsets),
        **sections,
    )
    return resolved, tuple(dict.fromkeys(faults))


def root_of(file: Path) -> Path:
    """The project: above `recipes/`, or above a sweep's folder; else the recipe's own folder."""
    place = file.parent
    if place.name == "recipes":
        return place.parent
    return place.parent.parent if place.parent.name == "sweeps" else place


def _of_the_head(override: Override) -> bool:
    return len(override.key) == 1 and override.key[0] in TOP_KEYS


def _head(document: Document, top: Mapping[str, Override], root: Path, faults: list[Fault]) -> Head:
    """Settled first, and its faults added: all else is checked against it."""

    def said(key: str) -> tuple[str, str]:
        value: Any = top[key].raw if key in top else document.data.get(key, "")
        where = top[key].where if key in top else f"{document.source(key)} {key}"
        return (value if isinstance(value, str) else ""), where

    preset_name, where = said("preset")
    preset: presets.Preset | None = None
    if preset_name and presets.find(preset_name, root):
        preset = presets.read(preset_name, root)
        faults += preset.faults
    elif preset_name:
        faults.append(presets.unknown(where, preset_name, root))
    family = _family(said("family"), preset, document, faults)
    trainer, where = said("trainer")
    able = FAMILIES[family].trainers
    trainer = trainer or (preset.trainer if preset and preset.family == family else able[0])
    if trainer in TRAINERS and trainer not in able:
        what = f"the {trainer} trainer cannot train {family}."
        hint = f'Write trainer = "{" or ".join(able)}".'
        faults.append(Fault(where, what, hint, "trainer"))
    elif trainer not in TRAINERS and "trainer" in top:  # the recipe's own fails its type check
        what = f"{trainer!r} is not one of {', '.join(TRAINERS)}."
        faults.append(Fault(where, what, did_you_mean(trainer, TRAINERS), "value"))
    trainer = trainer if trainer in able else able[0]  # the rest is judged by one that can
    name, where = said("name")
    name = name or document.path.stem
    if problem := name_problem(name):
        faults.append(Fault(where, problem, rule="name"))
    trigger, where = said("trigger")
    if ("trigger" in top or "trigger" in document.data) and (problem := trigger_problem(trigger)):
        faults.append(Fault(where, problem, rule="trigger"))
    return Head(preset, family, trainer, name, trigger)


def _family(
    said: tuple[str, str], preset: presets.Preset | None, document: Document, faults: list[Fault]
) -> str:
    """The recipe's word, the preset's where it has none; nothing can be checked without one."""
    own, where = said
    of_preset = preset.family if preset else ""
    if own and own not in FAMILIES:
        what = f"no family is called {own!r}."
        faults.append(Fault(where, what, known(own, FAMILIES), "family"))
    elif preset and own and of_preset in FAMILIES and own != of_preset:
        what = f"preset {preset.name} is for {of_preset}, not {own}."
        faults.append(Fault(where, what, "Leave the family to the preset.", "family"))
        return of_preset
    if preset and of_preset not in FAMILIES:
        where = f"{preset.document.label} [about] family"
        what = f"no family is called {of_preset!r}." if of_preset else "the preset says no family."
        faults.append(Fault(where, what, known(of_preset, FAMILIES), "family"))
    for family in (own, of_preset):
        if family in FAMILIES:
            return family
    explained = {"preset", "family"} & {fault.rule for fault in faults}
    hint = "" if explained else 'Write preset = "sdxl", or another that `lorakit presets` lists.'
    message = "neither a preset nor a family, so nothing says what is to be trained."
    raise RecipeError(f"{document.label}: {message}", faults=faults, hint=hint)


def _together(below: Sequence[Layer], own: Sequence[Layer]) -> list[Fault]:
    """Rate, rank and alpha act as one number: a change of one alone is pointed out."""
    before, after = (merge(layers)[0]["train"] for layers in (below, [*below, *own]))
    changed = [
        key
        for key in TOGETHER
        if key in before and key in after and before[key].value != after[key].value
    ]
    said = {entry.key for layer in own for entry in layer.entries if entry.section == "train"}
    if not changed or said.issuperset(TOGETHER) or not all(key in after for key in TOGETHER):
        return []
    old, new = (
        at["learning_rate"].value * at["network_alpha"].value / max(1, at["network_dim"].value)
        for at in (before, after)
    )
    if old == new:
        return []
    kept = " and ".join(
        f"{key} = {after[key].value:g} from {after[key].source}"
        for key in TOGETHER
        if key not in changed
    )
    product = f"lr x alpha / rank goes from {old:.2g} to {new:.2g}."
    what = f"{' and '.join(changed)} changed, with {kept}: {product}"
    where = f"{after[changed[0]].source} {changed[0]}"
    return [Fault(where, what, "The three act together.", "together", "note")]


def read_subject(document: Document) -> tuple[Subject, list[Fault]]:
    table = document.data.get("subject")
    if not isinstance(table, dict):  # said with the other keys of the top level
        return Subject(), []
    found: dict[str, Any] = {}
    more: dict[str, str] = {}
    faults: list[Fault] = []
    for key, value in table.items():
        where = f"{document.source('subject', key)} [subject] {key}"
        if key not in SUBJECT:
            more[key] = str(value)
            if near := did_you_mean(key, SUBJECT):
                what = f"is kept, but lorakit knows {', '.join(SUBJECT)}."
                faults.append(Fault(where, what, near, "subject", "warning"))
            continue
        fitted = fit(SUBJECT[key], value)
        if fitted.problem:
            faults.append(Fault(where, fitted.problem, fitted.hint, "value"))
        elif key == "consent":
            wrong = list(_consent_faults(value, where))
            faults += wrong
            found[key] = None if wrong else Consent(*(str(value[word]) for word in CONSENT))
        else:
            found[key] = fitted.value
    return Subject(**found, more=more), faults


def _consent_faults(table: Mapping[str, Any], where: str) -> Iterator[Fault]:
    hint = 'Such as { by = "Maya Lind", date = 2026-11-28, scope = "training, private use" }.'
    for key in CONSENT:
        if not str(table.get(key, "")).strip():
            yield Fault(f"{where}.{key}", "is not said.", hint, "value")
    for key in table.keys() - {*CONSENT}:
        what = "consent has no such key."
        yield Fault(f"{where}.{key}", what, did_you_mean(key, CONSENT) or hint, "value")
    try:
        date.fromisoformat(str(table.get("date", "2000-01-01"))[:10])
    except ValueError:
        yield Fault(f"{where}.date", f"{table['date']!r} is no date.", "Write 2026-11-28.", "value")
