"""From values to a recipe, and what has become of each: kept, translated or dropped, and why."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lorakit.catalogue.options import Option
from lorakit.errors import did_you_mean, refused
from lorakit.exchange.command import Said, Theirs, number_in, options_of
from lorakit.families import FAMILIES
from lorakit.portable import name_problem, trigger_problem
from lorakit.private import shown
from lorakit.recipe.schema import SECTIONS, WRITTEN_BY_US, words_of
from lorakit.recipe.values import fit
from lorakit.toml_text import document_text, value_text

OWN_FOLDER = "lorakit gives every run a folder of its own, with its logs and samples."
READ_INSTEAD = "what that file says is read in its place, where it is there."
BY_LORAKIT = {
    **dict.fromkeys(("output_dir", "logging_dir", "console_log_file"), OWN_FOLDER),
    **dict.fromkeys(("config_file", "dataset_config", "in_json"), READ_INSTEAD),
    "output_config": "it only prints what a config would be.",
}
HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FILES = (".safetensors", ".ckpt", ".sft", ".pt", ".pth", ".bin")
AGAIN = "it is said again further on, and the last word counts."
Place = tuple[str, ...]  # ("train", "network_dim"); () for what has none


@dataclass(frozen=True)
class Fate:
    source: str
    value: Any
    done: str  # kept, translated, dropped
    text: str  # where it is now, or why it is not


@dataclass
class TakenOver:
    theirs: Theirs
    root: Path  # the project's folder, where relative paths of a recipe start
    family: str
    trainer: str = ""
    guessed: bool = False
    values: dict[Place, Any] = field(default_factory=dict)
    fates: list[Fate] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.values.get(("name",), ""))

    @property
    def counts(self) -> Mapping[str, int]:
        done = [fate.done for fate in self.fates]
        return {word: done.count(word) for word in ("kept", "translated", "dropped")}

    def text(self) -> str:
        data: dict[str, Any] = {"family": self.family}
        data |= {"trainer": self.trainer} if self.trainer else {}
        data |= {place[0]: one for place, one in self.values.items() if len(place) == 1}
        for section in SECTIONS:
            table = {at[-1]: one for at, one in self.values.items() if at[:-1] == (section,)}
            data |= {section: table} if table else {}
        return f"# Taken over by lorakit from {self.theirs.kind}.\n{document_text(data)}"


def take_over(theirs: Theirs, root: Path, *, family: str = "", name: str = "") -> TakenOver:
    found = family or theirs.family
    able = found in FAMILIES and theirs.trainer in FAMILIES[found].trainers
    trainer = theirs.trainer if able else ""
    taken = TakenOver(theirs, root, found or "sd15", trainer, guessed=not found)
    last: dict[Place, int] = {}
    for one in theirs.said:
        place, value, why = _placed(one, taken)
        if not place:
            hidden = shown("train", one.key or one.source.rpartition(".")[2], one.value)
            taken.fates.append(Fate(one.source, hidden, "dropped", why))
            continue
        old = taken.values.get(place)
        if isinstance(old, dict) and isinstance(value, dict):
            value = {key: {**old.get(key, {}), **value.get(key, {})} for key in {**old, **value}}
        elif place in last and old != value and not _goes_on(old, value):
            taken.fates[last[place]] = replace(taken.fates[last[place]], done="dropped", text=AGAIN)
        taken.values[place], last[place] = value, len(taken.fates)
        same = place[-1] == one.source.rpartition(".")[2].lstrip("-") and _alike(value, one.value)
        told = f"[{place[0]}] {place[1]}" if len(place) > 1 else place[0]
        told += "" if _alike(value, one.value) else f" = {value_text(value)}"
        told += f"; {why}" if why else ""
        taken.fates.append(Fate(one.source, one.value, "kept" if same else "translated", told))
    if not taken.values:
        raise refused(theirs.stem, f"is {theirs.kind}, but nothing in it could be taken over.")
    own = name or taken.name or theirs.stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-._")[:60]
    fitting = (one for one in (own, plain) if one and not name_problem(one))
    taken.values[("name",)] = next(fitting, "imported")
    return taken


def _goes_on(old: Any, new: Any) -> bool:
    """A list that has grown: prompts, arguments."""
    return isinstance(old, list) and isinstance(new, list) and new[: len(old)] == old


def _alike(ours: Any, theirs: Any) -> bool:
    """The same, but perhaps for a text that spells a number."""
    return bool(ours == theirs) or (isinstance(theirs, str) and number_in(theirs) == ours)


def _placed(one: Said, taken: TakenOver) -> tuple[Place, Any, str]:
    """Where a value belongs, as what; or nowhere, and why."""
    key, value = one.key, one.ours
    if not key:
        return (), None, one.why
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "none", "null"}):
        return (), None, "nothing is set by it."
    if key in {"name", "output_name"}:
        return ("name",), str(value), one.why
    if key == "trigger":
        old = taken.values.get(("trigger",), "")
        value = old if old and str(value).startswith(old) else value  # maya_char_face
        problem = trigger_problem(str(value))
        return ((), None, problem) if problem else (("trigger",), str(value), one.why)
    section, _, word = key.partition(".")
    if word and section in SECTIONS:
        return _in_section(section, word, value, one, taken)
    about = FAMILIES.get(taken.family)
    for weight in about.by(taken.trainer).weights if about else ():
        if weight.option == key:
            return _in_section("model", weight.key, value, one, taken)
    if key in BY_LORAKIT:
        return (), None, BY_LORAKIT[key]
    if key in WRITTEN_BY_US:
        if home := re.fullmatch(r"\[(\w+)\] (\w+)", WRITTEN_BY_US[key]):
            return _in_section(home[1], home[2], value, one, taken)
        return (), None, f"use {WRITTEN_BY_US[key]}."
    return _option(key, value, one, taken)


def _in_section(
    section: str, word: str, value: Any, one: Said, taken: TakenOver
) -> tuple[Place, Any, str]:
    if section == "train":
        return _option(word, value, one, taken)
    words = words_of(section, taken.family, taken.trainer)
    if word not in words:
        return (), None, f"{taken.family} has no such file."
    if section == "model" or word in {"path", "reg_path"}:
        value = _path(str(value), taken, weights=section == "model")
    elif words[word].type != "table":
        value, problem = _fitted(words[word], value)
        if problem:
            return (), None, problem
    return (section, word), value, one.why


def _option(key: str, value: Any, one: Said, taken: TakenOver) -> tuple[Place, Any, str]:
    known, anywhere = options_of(taken.family, taken.trainer), options_of("")
    if key == "caption_extension":
        return ("dataset", key), str(value), one.why
    if key not in known:
        if key in anywhere:
            return (), None, f"{taken.family} has no such option."
        return (), None, f"sd-scripts has none such. {did_you_mean(key, known)}".strip()
    value, problem = _fitted(known[key], value)
    if "datasets." in one.source and value == known[key].default:
        return (), None, "it is the script's own default."
    return ((), None, problem) if problem else (("train", key), value, one.why)


def _fitted(option: Option, value: Any) -> tuple[Any, str]:
    """As the script wants it; texts of the other program become what they spell."""
    told = fit(option, value)
    for other in _readings(option, value) if told.problem else ():
        told = fit(option, other)
        if not told.problem:
            break
    return told.value, told.problem


def _readings(option: Option, value: Any) -> Sequence[Any]:
    if option.many and isinstance(value, str):
        words = _words(value)
        numbers = [number_in(word) for word in words]
        return [numbers if option.type != "str" and None not in numbers else words]
    text = str(value).strip()
    if option.type == "bool":
        return [text.lower() not in {"false", "0"}]
    if option.type == "str":
        return [text] if not isinstance(value, (dict, list)) else []
    number = number_in(text)
    return [] if number is None else [number, int(number)] if number == int(number) else [number]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _path(text: str, taken: TakenOver, *, weights: bool) -> str:
    """A path that is there is said from the project's folder; the hub's names get their mark."""
    there = taken.theirs.folder / text
    if there.exists() or (text.startswith("../") and there.parent.exists()):
        there = Path(*there.absolute().parts).resolve()
        root = taken.root.absolute().resolve()
        return there.relative_to(root).as_posix() if there.is_relative_to(root) else str(there)
    hub = weights and HUB.fullmatch(text) and not text.lower().endswith(FILES)
    return f"hf:{text}" if hub else text
