"""What the user asked for: command line over TOML over default, strict, and all faults at once."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue import options as catalogue
from lorakit.catalogue.options import Option
from lorakit.errors import Fault, did_you_mean, raise_on_errors
from lorakit.recipe.values import fit
from lorakit.trainers.embedded.rules import faults_of


def read(script: str, argv: Sequence[str]) -> argparse.Namespace:
    """Every option of the script as an attribute; raises one error with every fault."""
    options, kohyas = (catalogue.options(who, script) for who in ("embedded", "kohya"))
    given, faults = _command_line(script, options, argv)
    file = given.get("config_file")
    table, source = _config_file(Path(file)) if file else ({}, "")
    values = {name: option.default for name, option in options.items()}
    for where, said in ((f"{source} ", table), ("--", given)):
        for key, value in said.items():
            if key in options:
                found = fit(options[key], value)
                values[key] = found.value
                if found.problem:
                    faults.append(Fault(where + key, found.problem, found.hint, key=key))
            elif key not in kohyas or value != kohyas[key].default:  # at its default it is idle
                faults.append(_unknown(script, key, where + key))
    if not any(fault.severity == "error" for fault in faults):
        faults += faults_of(script, values)
    raise_on_errors(faults)
    return argparse.Namespace(**values)


def _command_line(
    script: str, options: Mapping[str, Option], argv: Sequence[str]
) -> tuple[dict[str, Any], list[Fault]]:
    """What is given there, and what belongs to no option."""
    parser = argparse.ArgumentParser(allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for option in options.values():
        parser.add_argument(
            f"--{option.name}", nargs="*", metavar="VALUE", help=option.help or None
        )
    known, unknown = parser.parse_known_args(list(argv))
    given = {name: _from_text(options[name], words) for name, words in vars(known).items()}
    names = [word.split("=")[0].lstrip("-") for word in unknown if word.startswith("--")]
    faults = [_unknown(script, name, f"command line {name}") for name in names]
    strays = [word for word in unknown if not word.startswith("--")]
    faults += [Fault("command line", f"{word!r} belongs to no option.") for word in strays]
    return given, faults


def _from_text(option: Option, words: list[str]) -> Any:
    values = [_number(option, word) for word in words]
    if option.type == "bool" and not values:
        return True
    return values if option.many or len(values) != 1 else values[0]


def _number(option: Option, word: str) -> Any:
    if option.type not in {"int", "float", "number"}:
        return word
    try:
        if option.type == "number" and word.endswith("%"):
            return float(word[:-1]) / 100
        return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)
    except ValueError:
        return word


def _config_file(path: Path) -> tuple[dict[str, Any], str]:
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    data = tomllib.read(path)
    flat: dict[str, Any] = {}
    for key, value in data.items():  # one level of tables, whose names do not count
        flat.update(value if isinstance(value, dict) else {key: value})
    return flat, str(path)


def _unknown(script: str, key: str, where: str) -> Fault:
    if key in catalogue.options("kohya", script):
        what = "the embedded trainer does not implement this option; leave it out or use"
        return Fault(where, f'{what} trainer = "kohya".', rule="not-implemented")
    hint = did_you_mean(key, catalogue.options("embedded", script))
    return Fault(where, "there is no such option.", hint, rule="unknown-option")
