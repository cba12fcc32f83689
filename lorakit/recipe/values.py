"""Does a value fit an option? Converts what loses nothing (1 to 1.0), refuses the rest, and says
how to write it.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from lorakit.catalogue.options import AS_EVER, Option
from lorakit.errors import did_you_mean
from lorakit.toml_text import value_text

KINDS: dict[str, tuple[str, tuple[type, ...]]] = {  # what an option of that type takes
    "str": ("a text", (str,)),
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
    "number": ("a number", (int, float)),
    "table": ("a table", (dict,)),
    "text or table": ("a text or a table", (str, dict)),
}
LARGEST = 2**63 - 1  # TOML's own bound
SIZE = re.compile(r"\s*[1-9]\d{0,4}\s*(,\s*[1-9]\d{0,4}\s*)?")
YES_NO = {
    **dict.fromkeys(("true", "yes", "on", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "0"), "false"),
}


@dataclass(frozen=True)
class Fit:
    """The value as the script wants it, or what is wrong and how to write it."""

    value: Any
    problem: str = ""
    hint: str = ""


def fit(option: Option, value: Any) -> Fit:
    if option.name == "resolution":
        return _resolution(value)
    if value == "" and option.many:
        return Fit([])
    if value == "" and option.type == "str" and not option.default:
        return Fit(value)  # nothing is set by it, whatever the choices
    if option.many:
        return _list(option, value)
    if isinstance(value, list) and option.type != "table":
        hint = _written(option, value[0]) if len(value) == 1 else ""
        return Fit(value, f"takes one value, not a list of {len(value)}.", hint)
    return _one(option, value)


def _one(option: Option, value: Any) -> Fit:
    kind, (takes, types) = option.type, KINDS[option.type]
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind == "bool" and value in option.choices:
        return Fit(value)  # a word beside true and false
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        said = "a table" if isinstance(value, dict) else value_text(value)
        said = f"the text {said}" if isinstance(value, str) else said
        words = "".join(f" or {value_text(one)}" for one in option.choices if kind == "bool")
        return Fit(value, f"takes {takes}{words}, not {said}.", _written(option, value))
    if isinstance(value, int) and abs(value) > LARGEST:
        return Fit(value, "is larger than any number that the scripts can hold.")
    if isinstance(value, float) and not math.isfinite(value):
        return Fit(value, f"{value} is not a number to train with.")
    if kind == "number" and isinstance(value, float) and value >= 1:
        right = f"Write {option.name} = {int(value)} for steps." if value == int(value) else ""
        what = f"{value:g} with a decimal point is read as a share of the run, and more than all"
        return Fit(value, f"{what} of it is impossible.", right)
    choices = [choice for choice in option.choices if choice is not None and kind != "bool"]
    if choices and value not in choices and value not in AS_EVER.get(option.name, ()):
        names = [str(choice) for choice in choices]
        what = f"{value_text(value)} is not one of {', '.join(names)}."
        return Fit(value, what, did_you_mean(str(value), names))
    if kind == "float" and isinstance(value, int):
        value = float(value)
    return Fit(value)


def _written(option: Option, value: Any) -> str:
    """How the same thing is spelt right, where that can be known."""
    right = _respelt(option.type, value)
    return f"Write {option.name} = {right}." if right else ""


def _respelt(kind: str, value: Any) -> str:
    text = str(value).strip()
    if kind == "bool":
        return YES_NO.get(text.lower(), "")
    if isinstance(value, bool):
        return ""
    if kind == "str":
        return value_text(str(value)) if isinstance(value, (int, float)) else ""
    if kind not in {"int", "float", "number"}:
        return ""
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
    if percent and kind == "number":
        return f"{float(percent[1]) / 100:g}"
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number) or (kind == "int" and number != int(number)):
        return ""
    return str(int(number)) if kind == "int" else text


def _list(option: Option, value: Any) -> Fit:
    if isinstance(value, str) and option.type == "str":
        hint = f"Write {option.name} = [{value_text(value)}]."
        return Fit(value, "takes a list; the script would read a bare text letter by letter.", hint)
    items = value if isinstance(value, list) else [value]  # a lone number is a list of one
    fits = [_one(option, item) for item in items]
    for number, one in enumerate(fits, start=1):
        if one.problem:
            hint = "" if one.hint.startswith("Write") else one.hint
            return Fit(value, f"entry {number}: {one.problem}", hint)
    return Fit([one.value for one in fits])


def _resolution(value: Any) -> Fit:
    """Scripts want a text here and numbers there; either is taken, and "512,768" kept."""
    sides = value if isinstance(value, list) else [value]
    if all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        value = ",".join(map(str, sides))
    if isinstance(value, str) and SIZE.fullmatch(value):
        return Fit(re.sub(r"\s", "", value))
    meant = ",".join(re.findall(r"\d+", str(value)))
    clear = SIZE.fullmatch(meant) and "." not in str(value)
    right = f'Write resolution = "{meant}".' if clear else ""
    what = f'{value_text(value)} is not a valid size; one side or "width,height" is.'
    return Fit(value, what, right)
