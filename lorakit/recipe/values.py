"""Does a value fit an option? Converts what loses nothing (1 to 1.0), refuses the rest and says
how to write it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from lorakit.catalogue.options import Option
from lorakit.errors import did_you_mean

A = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "number": "a number",
    "table": "a table",
}


LARGEST = 2**63 - 1  # TOML's own bound
SIZE = re.compile(r"\s*[1-9]\d{0,4}\s*(,\s*[1-9]\d{0,4}\s*)?")


@dataclass(frozen=True)
class Fit:
    """The value as the script wants it, or what is wrong and how to write it."""

    value: Any
    problem: str = ""
    hint: str = ""


def fit(option: Option, value: Any) -> Fit:
    if option.name == "resolution":
        return _resolution(value)
    if option.many:
        return _list(option, value)
    if isinstance(value, list) and option.type != "table":
        return Fit(
            value,
            f"takes one value, not a list of {len(value)}.",
            _written(option, value[0]) if len(value) == 1 else "",
        )
    return _one(option, value)


def told(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(told, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {told(item)}" for key, item in value.items()) + "}"
    return str(value)


def _one(option: Option, value: Any) -> Fit:
    kind = option.type
    if kind == "table":
        return Fit(value) if isinstance(value, dict) else _wrong(option, value)
    if kind == "text or table":
        return (
            Fit(value)
            if isinstance(value, (str, dict))
            else Fit(value, f"{told(value)} is neither a text nor a table.")
        )
    if kind == "bool":
        return Fit(value) if isinstance(value, bool) else _wrong(option, value)
    if kind == "str":
        return _choice(option, value) if isinstance(value, str) else _wrong(option, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _wrong(option, value)
    if isinstance(value, int) and abs(value) > LARGEST:
        return Fit(value, "is larger than any number that the scripts can hold.")
    if not math.isfinite(value):
        return Fit(value, f"{value} is no number to train with.")
    if kind == "int" and isinstance(value, float):
        return _wrong(option, value)
    if kind == "number":
        return _steps_or_share(option, value)
    return _choice(option, float(value) if kind == "float" else value)


def _wrong(option: Option, value: Any) -> Fit:
    kind = type(value)
    said = {str: f"the text {told(value)}", bool: told(value), dict: "a table"}.get(
        kind, told(value)
    )
    return Fit(value, f"takes {A[option.type]}, not {said}.", _written(option, value))


def _written(option: Option, value: Any) -> str:
    """How the same thing is spelt right, where that can be known."""
    right = _respelt(option.type, value)
    return f"Write {option.name} = {right}." if right else ""


def _respelt(kind: str, value: Any) -> str:
    if kind == "str":
        return (
            told(str(value))
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            else ""
        )
    text = str(value).strip()
    if kind == "bool":
        lower = text.lower()
        return (
            "true"
            if lower in {"true", "yes", "on", "1"}
            else "false"
            if lower in {"false", "no", "off", "0"}
            else ""
        )
    if kind in {"int", "float", "number"} and not isinstance(value, bool):
        percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
        if percent and kind == "number":
            return f"{float(percent[1]) / 100:g}"
        try:
            number = float(text)
        except ValueError:
            return ""
        if kind != "int":
            return text if math.isfinite(number) else ""
        return str(int(number)) if math.isfinite(number) and number == int(number) else ""
    return ""


def _steps_or_share(option: Option, value: float) -> Fit:
    if isinstance(value, float) and value >= 1:
        right = f"Write {option.name} = {int(value)} for steps." if value == int(value) else ""
        return Fit(
            value,
            f"{value:g} with a decimal point is read as a share of the run, and more than all of it"
            " is none.",
            right,
        )
    return Fit(value)


def _choice(option: Option, value: Any) -> Fit:
    choices = [choice for choice in option.choices if choice is not None]
    if not choices or value in choices:
        return Fit(value)
    return Fit(
        value,
        f"{told(value)} is not one of {', '.join(map(str, choices))}.",
        did_you_mean(str(value), map(str, choices)),
    )


def _list(option: Option, value: Any) -> Fit:
    if isinstance(value, str) and option.type == "str":
        return Fit(
            value,
            "takes a list; the script would read a bare text letter by letter.",
            f"Write {option.name} = [{told(value)}].",
        )
    items = value if isinstance(value, list) else [value]  # a lone number is a list of one
    fits = [_one(option, item) for item in items]
    for number, one in enumerate(fits, start=1):
        if one.problem:
            return Fit(
                value,
                f"entry {number}: {one.problem}",
                "" if one.hint.startswith("Write") else one.hint,
            )
    return Fit([one.value for one in fits])


def _resolution(value: Any) -> Fit:
    """The scripts want a text in one file and numbers in the other; people may write either, and
    "512,768" is what we keep.
    """
    if isinstance(value, list) and all(
        isinstance(side, int) and not isinstance(side, bool) for side in value
    ):
        value = ",".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and SIZE.fullmatch(value):
        return Fit(re.sub(r"\s", "", value))
    meant = ",".join(re.findall(r"\d+", str(value)))
    right = (
        f'Write resolution = "{meant}".' if SIZE.fullmatch(meant) and "." not in str(value) else ""
    )
    return Fit(value, f'{told(value)} is no size; one side or "width,height" is.', right)
