"""Rewrite the JSON Schemas of recipes and presets from the catalogue: what an editor needs to
complete a key and to mark a mistake as it is typed. `--check` says whether they are current.

    python tools/make_schema.py [--check]

A schema knows one file and not its layers, so it is milder than the plan: whatever some family
takes under some trainer is allowed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lorakit.catalogue.options import AS_EVER, BOUNDS, Option, committed_options
from lorakit.families import FAMILIES
from lorakit.recipe.new_recipe import schema_file
from lorakit.recipe.schema import (
    ABOUT,
    PRESET_TOP,
    PROPOSED,
    STAGE,
    SUBSET,
    TOP,
    TOP_WORDS,
    TRAINERS,
    WRITTEN_BY_US,
    words_of,
)

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
TYPES: Mapping[str, list[str]] = {
    "str": ["string"],
    "int": ["integer"],
    "float": ["number"],
    "number": ["number"],
    "bool": ["boolean"],
    "table": ["object"],
    "text or table": ["string", "object"],
}


def recipe_schema() -> Schema:
    top = {key: _top(key) for key in TOP if key in TOP_WORDS}
    sections = _sections()
    stage = {key: {"$ref": f"#/properties/{key}"} for key in STAGE if key in sections}
    stages = _table({"name": {"type": "string"}, **stage}, required=["name"])
    several = {"type": "array", "items": stages}
    found = _table({**top, **sections, "stage": several}, anyOf=_one_of("preset", "family"))
    return {"$schema": DRAFT, "title": "A recipe of lorakit", **found}


def preset_schema() -> Schema:
    top = {key: _top(key) for key in PRESET_TOP if key in TOP_WORDS}
    about = _table({key: {"type": "string"} for key in (*ABOUT, *PROPOSED)})
    found = _table({**top, "about": about, **_sections()}, required=["about"])
    return {"$schema": DRAFT, "title": "A preset of lorakit", **found}


def _one_of(*keys: str) -> list[Schema]:
    return [{"required": [key]} for key in keys]


def _top(key: str) -> Schema:
    if key == "family":
        return {"type": "string", "enum": sorted(FAMILIES)}
    return _value([TOP_WORDS[key]])


def _sections() -> dict[str, Schema]:
    train: dict[str, list[Option]] = {}
    for trainer in TRAINERS:
        for option in committed_options(trainer):
            train.setdefault(option.name, []).append(option)
    found = {
        name: _table({key: _value([one]) for key, one in words_of(name).items()})
        for name in ("model", "dataset", "sample", "launch")
    }
    subset = _table({key: _value([one]) for key, one in SUBSET.items()})
    keys = found["dataset"]["properties"]
    keys["subset"] = {"type": "object", "additionalProperties": subset}
    keys["rules"] = {"type": "object"}
    options = {name: _value(train[name]) for name in sorted(train) if name not in WRITTEN_BY_US}
    return {**found, "train": _table(options)}


def _table(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}


def _value(options: Iterable[Option]) -> Schema:
    """What any of the trainers takes under this name."""
    every = list(options)
    first = every[0]
    types = list(dict.fromkeys(kind for one in every for kind in TYPES[one.type]))
    if first.name == "resolution":
        types = ["string", "integer"]
    one: Schema = {"type": types if len(types) > 1 else types[0], **_bounds(first.name)}
    choices = [choice for option in every for choice in option.choices if choice is not None]
    if choices and all(option.choices for option in every):
        one["enum"] = list(dict.fromkeys([*choices, *AS_EVER.get(first.name, ()), ""]))
        if "string" not in types:
            one["enum"].remove("")
    if first.many or first.name == "resolution":
        lone = [] if first.many and first.type == "str" else [one]
        items = {"type": "integer"} if first.name == "resolution" else one
        one = {"anyOf": [{"type": "array", "items": items}, *lone]}
        one = one if lone else one["anyOf"][0]
    said = {"description": first.help} if first.help else {}
    default = {} if first.default in {None, ""} else {"default": first.default}
    return {**said, **one, **default}


def _bounds(name: str) -> Schema:
    for bound in BOUNDS:
        if name in bound.options:
            edges = {"minimum": bound.least, "maximum": bound.most, "exclusiveMaximum": bound.below}
            return {key: edge for key, edge in edges.items() if edge is not None}
    return {}


def main(words: list[str]) -> int:
    old = False
    for name, made in (("recipe", recipe_schema()), ("preset", preset_schema())):
        path, text = schema_file(name), json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old = True
            if "--check" not in words:
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path.name}")
    return int(old and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
