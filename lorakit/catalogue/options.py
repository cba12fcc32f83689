"""Every option of every training script, as committed data: what the plan checks names, types and
choices against.

A trainer has TRAINER.json, read out of its scripts: {"commit": ..., "options": {name: {...}},
"scripts": {script: [name]}, "overrides": {script: {name: {...}}}}; "from": a trainer whose options
it has, too; "dataset": {name: {...}}, what it takes in its dataset file alone; "networks": {module:
{argument: kind}}. Or TRAINER.toml, which says what it takes from another trainer's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lorakit import tomllib
from lorakit.catalogue.checkout import own_catalogue
from lorakit.catalogue.networks import Words
from lorakit.config import CHECKOUTS

HERE = Path(__file__).parent
# What the network modules take where network_dim is unset: argparse has no default.
DEFAULT_RANK = 4
# Values that an option's choices lack, and that the scripts take for what they do anyway: the
# choices are those of the command line, which a config file passes by.
AS_EVER = {"max_token_length": (75,), "dynamo_backend": ("no", "NO")}


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
    of_dataset: bool = False  # the script takes it in the dataset file, not in train.toml


@cache
def options(trainer: str, script: str) -> Mapping[str, Option]:
    """The options of one script (sdxl_train_network.py, ...) as this trainer understands it."""
    return _options_in(_in_use(trainer), script)


def committed_options(trainer: str) -> list[Option]:
    """Of all its scripts as they are committed, whatever checkout is configured here."""
    data = _load(trainer)
    return [one for script in data["scripts"] for one in _options_in(data, script).values()]


def _options_in(data: Mapping[str, Any], script: str) -> dict[str, Option]:
    overrides = data["overrides"].get(script, {})
    of_others = _load(data["from"])["options"] if "from" in data else {}
    known = {**of_others, **data["options"]}
    entries = {name: {**known[name], **overrides.get(name, {})} for name in data["scripts"][script]}
    for name, entry in data.get("dataset", {}).items():
        entries[name] = {**entry, "of_dataset": True}
    return {name: option_of(name, entry) for name, entry in entries.items()}


def option_of(name: str, entry: Mapping[str, Any]) -> Option:
    return Option(name=name, **{**entry, "choices": tuple(entry.get("choices", ()))})


def sections(trainer: str) -> Mapping[str, list[str]]:
    """Where in its own configuration the names belong that are no names of kohya's."""
    return dict(_in_use(trainer).get("sections", {}))


def networks() -> Mapping[str, Words]:
    """What each network module of sd-scripts reads from network_args."""
    return {**_load("kohya")["networks"], **_in_use("kohya")["networks"]}


def commit(trainer: str) -> str:
    return str(_load(trainer)["commit"])


@cache
def _in_use(trainer: str) -> dict[str, Any]:
    """Of the checkout that is configured, where the trainer has one; else as it is committed."""
    committed = _load(trainer)
    own = own_catalogue(trainer, committed["commit"]) if trainer in CHECKOUTS else None
    return own or committed


@cache
def _load(trainer: str) -> dict[str, Any]:
    file = HERE / f"{trainer}.json"
    if file.is_file():
        data: dict[str, Any] = json.loads(file.read_bytes())
        return data
    return _derived(tomllib.page(__file__, f"{trainer}.toml"))


def _derived(own: Mapping[str, Any]) -> dict[str, Any]:
    data = _load(own["from"])
    choices = {
        name: {**data["options"][name], "choices": few} for name, few in own["choices"].items()
    }
    common = {*own["common"], *own["own"]}
    return {
        **data,
        "from": own["from"],
        "options": {**own["own"], **choices},
        "scripts": {script: sorted({*common, *more}) for script, more in own["scripts"].items()},
    }


class Bound(NamedTuple):
    rule: str
    options: tuple[str, ...]
    least: float
    why: str
    most: float | None = None
    below: float | None = None

    def outside(self, said: Any) -> list[float]:
        """Which numbers of a value, or of a list, are none."""
        numbers = said if isinstance(said, (list, tuple)) else [said]
        return [
            one
            for one in numbers
            if isinstance(one, (int, float))
            and not isinstance(one, bool)
            and not (
                one >= self.least
                and (self.most is None or one <= self.most)
                and (self.below is None or one < self.below)
            )
        ]

    @property
    def range(self) -> str:
        if self.below is not None:
            return f"{self.least:g} or more, and less than {self.below:g}"
        most = "or more" if self.most is None else f"to {self.most:.0f}"
        return f"{self.least:g} {most}"


BOUNDS = tuple(Bound(rule, **one) for rule, one in tomllib.page(__file__, "bounds.toml").items())
