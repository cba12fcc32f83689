"""TOML text that sd-scripts' own reader, toml 0.10.2, reads back as exactly what was meant.

That reader has holes: it wants homogeneous arrays, loses quotes that stand alone, trips over
backslashes before u, over commas at the start of a text in an array, and takes a byte-order mark
for part of the first key. So unusual texts are spelt in whichever way it reads right, and every
file is read back whole with that very library before anything uses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lorakit.errors import Fault, RecipeError

PLAIN = re.compile(
    r"[^\W\d_][\w ./:;=@%+()*!?&<>|~^$-]*(?:, ?[\w ./:;=@%+()*!?&<>|~^$-]+)*"
)  # needs no thought: letters first, no quotes


def table_text(table: Mapping[str, Any]) -> str:
    """`key = value` lines."""
    return "".join(f"{key} = {value_text(value)}\n" for key, value in table.items())


def value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, list, tuple)):
        return next(iter(_readable(value)), _spelt(value, _basic))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {value_text(item)}" for key, item in value.items()) + " }"
    return repr(value)


def homogeneous(items: Sequence[Any]) -> list[Any]:
    """`[1e-5, 0]` is an error to that reader; a list that holds a float holds only floats."""
    if any(isinstance(item, float) for item in items):
        return [
            float(item) if isinstance(item, int) and not isinstance(item, bool) else item
            for item in items
        ]
    return list(items)


def proven(name: str, text: str, meant: Mapping[str, Any]) -> str:
    """The text, once toml 0.10.2 has read it back as what was meant."""
    found = read_back(text)
    wrong = (
        sorted(key for key in {*found, *meant} if found.get(key) != _plain(meant.get(key)))
        if found is not None
        else sorted(meant)
    )
    if wrong:
        what = f"kohya's TOML reader reads {', '.join(wrong)} differently from what was meant."
        hint = "Look for unusual characters in names, paths and prompts."
        raise RecipeError(
            f"{name} cannot be written.", faults=[Fault(name, what, hint, "toml-unreadable")]
        )
    return text


def read_back(text: str) -> dict[str, Any] | None:
    """What sd-scripts will read; None where it stops."""
    import toml

    try:
        found: dict[str, Any] = toml.loads(text)
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
    ):  # TomlDecodeError is a ValueError; the others are the reader's own bugs
        return None
    return found


def _readable(value: Any) -> list[str]:
    """The first spelling of a text or list that is read back right; none where there is no such
    spelling.
    """
    parts = [value] if isinstance(value, str) else list(value)
    if all(not isinstance(part, str) or PLAIN.fullmatch(part) for part in parts):
        return [_spelt(value, _basic)]
    for spelling in (_basic, _literal, _coded):
        text = _spelt(value, spelling)
        if read_back(f"a = {text}\nb = 1\n") == {"a": _plain(value), "b": 1}:
            return [text]
    return []


def _spelt(value: Any, spelling: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return spelling(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_spelt(item, spelling) for item in homogeneous(value)) + "]"
    return value_text(value)


def _basic(text: str) -> str:
    codes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(
            codes.get(letter) or (letter if letter.isprintable() else _code(letter))
            for letter in text
        )
        + '"'
    )


def _literal(text: str) -> str:
    return f"'{text}'" if "'" not in text and "\n" not in text else _basic(text)


def _coded(text: str) -> str:
    spelt = (
        "\\\\" if letter == "\\" else letter if letter.isalnum() or letter == " " else _code(letter)
        for letter in text
    )
    return '"' + "".join(spelt) + '"'


def _code(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in homogeneous(value)]
    return value
