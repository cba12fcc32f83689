"""Every setting that ai-toolkit looks up in its configuration, read out of its source by `ast`; and
kohya's names for those that have one.

Its own loader ignores what it does not look up, so a misspelt key would pass in silence.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.file_names import EXPERTS

SCRIPT = "run.py"
_SAID = tomllib.page(__file__, "ai_toolkit.toml")
CLASSES: Mapping[str, str] = _SAID["classes"]
PLACES: Mapping[str, tuple[str, str]] = _SAID["places"]
OF_LORAKIT, NOT_OFFERED, NUMBERS = (
    frozenset(_SAID["names"][one]) for one in ("of_lorakit", "not_offered", "numbers")
)
_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str"}


def read_ai_toolkit(checkout: Path, commit: str = "") -> dict[str, Any]:
    """`sections` says under which key of the configuration each name of its own belongs."""
    kohyas = {*PLACES, *OF_LORAKIT}
    options: dict[str, dict[str, Any]] = {}
    sections: dict[str, list[str]] = {}
    places = [*CLASSES.values()]
    for place, name, entry in sorted(lookups(checkout), key=lambda one: places.index(one[0])):
        taken = (place, name) in PLACES.values() or name in NOT_OFFERED
        if taken or name in kohyas or name in options or not entry:
            continue
        options[name] = {"type": "float"} if name in NUMBERS else dict(entry)
        if place == "ema_config":  # unset means none at all
            options[name].pop("default", None)
        sections.setdefault(place, []).append(name)
    options.setdefault("arch", {"type": "str"})["choices"] = _SAID["names"]["archs"]
    sections["model_kwargs"] = [f"train_{expert}" for expert in EXPERTS]
    options |= {name: {"type": "bool", "default": True} for name in sections["model_kwargs"]}
    return {
        "commit": commit,
        "from": "kohya",
        "options": {name: options[name] for name in sorted(options)},
        "scripts": {SCRIPT: sorted({*kohyas, *options})},
        "overrides": {},
        "sections": sections,
    }


def lookups(checkout: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Section, name, and type and default as far as they are plain, of every kwargs.get."""
    file = checkout / "toolkit" / "config_modules.py"
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for one in tree.body:
        place = CLASSES.get(one.name) if isinstance(one, ast.ClassDef) else None
        if place is None:
            continue
        seen: dict[str, dict[str, Any]] = {}
        for node in ast.walk(one):
            value: Any = getattr(node, "value", None)
            value = value.args[0] if _calls(value, *_TYPES) else value
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and _calls(value, "kwargs.get"):
                name, *default = value.args
                said = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                other = ast.unparse(default[0]).removeprefix("self.") if default else ""
                entry = seen[name.value] = seen.get(other) or _entry(said, default)
                yield place, name.value, entry


def _calls(node: Any, *names: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names and bool(node.args)


def _entry(annotation: str, default: list[ast.expr]) -> dict[str, Any]:
    """Empty for a table: that is no setting of a recipe."""
    try:
        value = ast.literal_eval(default[0]) if default else None
    except ValueError:
        value = None  # computed
    if isinstance(value, dict) or "dict" in annotation.lower():
        return {}
    many = isinstance(value, list) or "List" in annotation
    words = [word for word in _TYPES if word in annotation]
    kind = words[0] if words else type(value).__name__ if value not in (None, []) else "str"
    if kind == "int" and not words:
        kind = "float"  # 1 may stand for 1.0
    if kind not in _TYPES.values():
        return {}
    found: dict[str, Any] = {"type": kind}
    if many:
        found["many"] = True
    elif value is not None:
        found["default"] = value
    return found
