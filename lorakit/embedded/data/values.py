"""Does a value from TOML or JSON fit an option? Strictly: text is not a number, nor is a flag."""

from __future__ import annotations

from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "size": (int,),
    "float": (int, float),
    "number": (int, float),
    "str": (str,),
    "bool": (bool,),
    "table": (dict,),
}
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "number": "a number",
    "bool": "true or false",
    "str": "a text",
    "size": "a whole number or [width, height]",
}


def fits(kind: str, value: Any) -> bool:
    if kind == "tables":
        return isinstance(value, list) and all(fits("table", part) for part in value)
    if kind == "size" and isinstance(value, list):
        return len(value) == 2 and all(fits("int", part) for part in value)
    return isinstance(value, KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
