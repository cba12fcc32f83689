"""Does a value from a dataset or prompt TOML fit its key? Strictly, as the recipe's values do."""

from __future__ import annotations

from typing import Any

from lorakit.catalogue.options import Option
from lorakit.recipe.values import fit

WORDS = {
    "int": "an integer",
    "float": "a number",
    "number": "a number",
    "bool": "true or false",
    "str": "a text",
    "size": "an integer or [width, height]",
}


def fits(kind: str, value: Any) -> bool:
    if kind == "table":
        return isinstance(value, dict)
    if kind == "tables":
        return isinstance(value, list) and all(fits("table", part) for part in value)
    if kind == "size" and isinstance(value, list):
        return len(value) == 2 and all(fits("int", part) for part in value)
    return not fit(Option("", {"size": "int", "number": "float"}.get(kind, kind)), value).problem
