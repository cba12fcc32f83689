"""The one writer of TOML: text that sd-scripts' own reader, toml 0.10.2, reads back as exactly
what was meant.

It wants homogeneous arrays, loses quotes that stand alone, trips over backslashes before u and over
commas at the start of a text in an array. So unusual texts are spelt in whichever way it reads
right, and every file for it is read back in full with that library before anything uses it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lorakit.errors import Fault, RecipeError

PLAIN = re.compile(
    r"[^\W_][\w ./:;=@%+()*!?&<>|~^$-]*(?:, ?[\w ./:;=@%+()*!?&<>|~^$-]+)*"
)  # needs no thought: a letter or digit first, no quotes
BARE = re.compile(r"[A-Za-z0-9_-]+")
CODES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# TomlDecodeError is a ValueError; the others are the reader's own bugs.
STOPS = (ValueError, IndexError, KeyError, TypeError)


def table_text(table: Mapping[str, Any]) -> str:
    """`key = value` lines."""
    return "".join(f"{key_text(key)} = {value_text(value)}\n" for key, value in table.items())


def document_text(data: Mapping[str, Any], name: str = "") -> str:
    """Values first, then every table under a header of its own; what is None is left out."""
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    own = {key: value for key, value in data.items() if key not in tables and value is not None}
    text = (f"\n[{name}]\n" if name else "") + table_text(own)
    for key, table in tables.items():
        text += document_text(table, f"{name}.{key_text(key)}" if name else key_text(key))
    return text


def key_text(key: str) -> str:
    return key if BARE.fullmatch(key) else _basic(key)


def value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, list, tuple)):
        return next(_readable(value), _spelt(value, _basic))
    if isinstance(value, Mapping):
        pairs = (f"{key_text(key)} = {value_text(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return str(value)


def homogeneous(items: Sequence[Any]) -> list[Any]:
    """`[1e-5, 0]` is an error to that reader; a list that holds a float holds only floats."""
    if not any(isinstance(item, float) for item in items):
        return list(items)
    return [
        float(item) if isinstance(item, int) and not isinstance(item, bool) else item
        for item in items
    ]


def proven(name: str, text: str, meant: Mapping[str, Any]) -> str:
    """The text, once toml 0.10.2 has read it back as what was meant."""
    found = read_back(text) or {}
    keys = sorted({*found, *meant})
    if wrong := [key for key in keys if found.get(key) != _plain(meant.get(key))]:
        what = f"kohya's TOML reader reads {', '.join(wrong)} differently from what was meant."
        hint = "Look for unusual characters in names, paths and prompts."
        fault = Fault(name, what, hint, "toml-unreadable")
        raise RecipeError(f"{name} cannot be written.", faults=[fault])
    return text


def read_back(text: str) -> dict[str, Any] | None:
    """What sd-scripts will read; None where it stops."""
    import toml

    try:
        return dict(toml.loads(text))
    except STOPS:
        return None


def _readable(value: Any) -> Iterator[str]:
    """The spellings of a text or list that are read back right, the plainest first."""
    parts = [value] if isinstance(value, str) else list(value)
    if all(not isinstance(part, str) or PLAIN.fullmatch(part) for part in parts):
        yield _spelt(value, _basic)
    for spelling in (_basic, _literal, _coded):
        text = _spelt(value, spelling)
        if read_back(f"a = {text}\nb = 1\n") == {"a": _plain(value), "b": 1}:
            yield text


def _spelt(value: Any, spelling: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return spelling(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_spelt(item, spelling) for item in homogeneous(value)) + "]"
    return value_text(value)


def _basic(text: str) -> str:
    spelt = (CODES.get(one) or (one if one.isprintable() else _code(one)) for one in text)
    return '"' + "".join(spelt) + '"'


def _literal(text: str) -> str:
    return f"'{text}'" if "'" not in text and "\n" not in text else _basic(text)


def _coded(text: str) -> str:
    codes = {"\\": "\\\\", " ": " "}
    spelt = (codes.get(one) or (one if one.isalnum() else _code(one)) for one in text)
    return '"' + "".join(spelt) + '"'


def _code(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in homogeneous(value)]
    return value
