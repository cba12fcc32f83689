"""YAML as ai-toolkit's loader reads it: mappings, lists and plain values, every text in quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Outside what a YAML reader takes as it is, or a line break to it.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# The loader replaces these anywhere in the file: a variable of the environment, the run's name.
REPLACED = re.compile(r"\$\{[^}]+\}|\[name\]")


def yaml_text(value: Mapping[str, Any], depth: int = 0) -> str:
    return "".join(f"{line}\n" for line in _lines(value, "  " * depth))


def replaced(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Where something stands that the loader would replace, and what."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from replaced(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from replaced(inner, place)
    elif isinstance(value, str) and (match := REPLACED.search(value)):
        yield place, match[0]


def _lines(value: Any, margin: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _is_nested(inner):
                yield f"{margin}{key}:"
                yield from _lines(inner, f"{margin}  ")
            else:
                yield f"{margin}{key}: {_plain(inner)}"
        return
    for inner in value:
        first, *others = _lines(inner, "") if _is_nested(inner) else (_plain(inner),)
        yield f"{margin}- {first}"
        yield from (f"{margin}  {line}" for line in others)


def _is_nested(value: Any) -> bool:
    """Lists of plain values stand on one line."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, (list, tuple)) and any(
        isinstance(one, (Mapping, list, tuple)) for one in value
    )


def _plain(value: Any) -> str:
    if isinstance(value, float):
        mantissa, mark, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{mark}{exponent}" if mark else mantissa
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return _UNPRINTABLE.sub(lambda one: f"\\u{ord(one[0]):04x}", text)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value)
