"""`--set key=value` and `--unset key`: the last layer, read as TOML where it is TOML and as text
where it is not.
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorakit import tomllib
from lorakit.errors import Fault


@dataclass(frozen=True)
class Override:
    """One `--set`. `raw` is the value as typed, for options that take text."""

    key: tuple[str, ...]
    value: Any
    raw: str

    @property
    def where(self) -> str:
        return f"--set {'.'.join(self.key)}"


def read_overrides(sets: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    found: list[Override] = []
    faults: list[Fault] = []
    for text in sets:
        key, equals, raw = text.partition("=")
        parts = read_key(key)
        if not equals or not all(parts):
            hint = "Such as --set train.network_dim=16."
            faults.append(Fault(f"--set {text}", "is not KEY=VALUE.", hint, "override"))
        else:
            found.append(Override(parts, read_value(raw.strip()), raw.strip()))
    return found, faults


def read_key(text: str) -> tuple[str, ...]:
    """The parts between the dots; a part that holds dots itself may be quoted, as in TOML."""
    return tuple(
        part.strip().strip('"') for part in re.split(r"""\.(?=(?:[^"]*"[^"]*")*[^"]*$)""", text)
    )


def read_value(raw: str) -> Any:
    """The TOML value, or the bare text where it is none: `bf16`, a path, a date as a name."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return raw
    return raw if isinstance(value, (dt.date, dt.time)) or "\n" in raw else value
