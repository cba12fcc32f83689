"""The failures that symptoms.toml describes, ready to be looked for in a log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lorakit import tomllib


@dataclass(frozen=True)
class Symptom:
    rule: str
    pattern: re.Pattern[str]
    cause: str
    remedy: str  # a command


@cache
def symptoms() -> tuple[Symptom, ...]:
    """In the order in which they are tried."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(
        Symptom(entry["rule"], re.compile("|".join(entry["log"])), entry["cause"], entry["remedy"])
        for entry in table["symptom"]
    )
