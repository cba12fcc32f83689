"""Every option of every training script, as committed data: what the plan checks names, types and
choices against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEFAULT_RANK = (
    4  # what the network modules take where network_dim is unset: argparse has no default
)


@dataclass(frozen=True)
class Option:
    name: str
    # "str", "int", "float", "bool" (a flag); "number" where the script takes int or float (warm-up
    # steps)
    type: str
    many: bool = False  # a list of them (nargs)
    choices: tuple[Any, ...] = ()
    default: Any = None
    help: str = ""


@cache
def _load(trainer: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((HERE / f"{trainer}.json").read_text(encoding="utf-8"))
    return data


@cache
def options(trainer: str, script: str) -> Mapping[str, Option]:
    """The options of one script (sdxl_train_network.py, ...) as this trainer understands it.

    The file holds {"commit": ..., "options": {name: {...}}, "scripts": {script: [names] },
    "overrides": {script: {name: {...}}}}.
    """
    data = _load(trainer)
    overrides = data.get("overrides", {}).get(script, {})
    return {
        name: Option(
            name=name,
            **{**_listless(data["options"].get(name, {})), **_listless(overrides.get(name, {}))},
        )
        for name in data["scripts"][script]
    }


def commit(trainer: str) -> str:
    return str(_load(trainer).get("commit", ""))


def _listless(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if key == "choices" else value for key, value in entry.items()}
