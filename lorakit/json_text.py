"""JSON that a person may have edited: not too large, not too deep, its faults named."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit.user_files import Missing, Unreadable, read_text

DEEPEST = 64  # nothing of ours goes half as deep; Python's own readers give up at a thousand
MOST = 1 << 26  # a list of many thousand images is some megabytes
TOO_DEEP = "brackets are nested too deeply"


def loads(text: str | bytes) -> Any:
    """Whatever cannot be read is a ValueError."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has thousands of digits") from None
        raise
    if deeper(data):
        raise ValueError(TOO_DEEP)
    return data


def read(path: Path) -> Any:
    text = read_text(path, most=MOST)
    try:
        return loads(text)
    except ValueError as error:
        what = f"is not JSON any more ({error})."
        raise Unreadable(path, what, "Was it edited by hand?") from error


def read_or(path: Path, usual: Any) -> Any:
    """What is usual where there is no such file."""
    try:
        return read(path)
    except Missing:
        return usual


def table(path: Path) -> dict[str, Any]:
    """What a file says by key; nothing where it is missing, broken or something else."""
    try:
        data = read(path)
    except Unreadable:
        return {}
    return data if isinstance(data, dict) else {}


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted place; a list of plain values is one, an empty table none."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and any(isinstance(one, (Mapping, list)) for one in data):
        for number, value in enumerate(data):
            yield from leaves(value, f"{path}.{number}" if path else str(number))
    else:
        yield path, data


def deeper(data: Any, limit: int = DEEPEST) -> bool:
    """Whether it has more storeys of lists and tables than that."""
    storey: list[Any] = [[data]]
    for _ in range(limit + 2):
        parts = (one.values() if isinstance(one, dict) else one for one in storey)
        storey = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
        if not storey:
            return False
    return True
