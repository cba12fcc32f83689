"""What the user asked for: command line over TOML over default, as kohya's scripts read it, but
strict, and all faults at once.
"""

from __future__ import annotations

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
    options = catalogue.options("embedded", script)
    faults: list[Fault] = []
    given = _command_line(script, options, argv, faults)
    table: dict[str, Any] = {}
    if given.get("config_file"):
        table, source = _config_file(Path(given["config_file"]))
        faults += _checked(script, options, table, source)
    values = {name: option.default for name, option in options.items()}
    values |= {key: value for key, value in {**table, **given}.items() if key in options}
    if not any(fault.severity == "error" for fault in faults):
        faults += faults_of(script, values)
    raise_on_errors(faults)
    return argparse.Namespace(**values)


def _command_line(
    script: str, options: Mapping[str, Option], argv: Sequence[str], faults: list[Fault]
) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog=script, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for option in options.values():
        many, text = "*" if option.many else None, option.help or None
        if option.type == "bool" and option.choices:
            parser.add_argument(f"--{option.name}", nargs="?", const=True, metavar="VALUE")
        elif option.type == "bool":
            parser.add_argument(f"--{option.name}", action="store_true")
        else:
            parser.add_argument(f"--{option.name}", nargs=many, metavar="VALUE", help=text)
    known, unknown = parser.parse_known_args(list(argv))
    given: dict[str, Any] = {}
    for name, value in vars(known).items():
        option = options[name]
        parts = [_from_text(option, part) for part in (value if option.many else [value])]
        read = parts if option.many else parts[0]
        given[name] = _fitted(option, read, f"--{name}", faults)
    where = "command line"
    options_first = sorted(unknown, key=lambda word: not word.startswith("--"))
    faults += [
        _unknown(script, options, word.split("=")[0].lstrip("-"), where)
        if word.startswith("--")
        else Fault(where, f"{word!r} belongs to no option.")
        for word in options_first
    ]
    return given


def _from_text(option: Option, value: Any) -> Any:
    if option.type not in {"int", "float", "number"}:
        return value
    try:
        if option.type == "number" and value.endswith("%"):
            return float(value[:-1]) / 100
        return int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
    except ValueError:
        return value


def _fitted(option: Option, value: Any, where: str, faults: list[Fault]) -> Any:
    found = fit(option, value)
    if found.problem:
        faults.append(Fault(where, found.problem, found.hint, key=option.name))
    return found.value


def _config_file(path: Path) -> tuple[dict[str, Any], str]:
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    data = tomllib.read(path)
    flat: dict[str, Any] = {}
    for key, value in data.items():  # one level of tables, whose names do not count
        flat.update(value if isinstance(value, dict) else {key: value})
    return flat, str(path)


def _checked(
    script: str, options: Mapping[str, Option], table: dict[str, Any], source: str
) -> list[Fault]:
    faults: list[Fault] = []
    for key, value in table.items():
        if key in options:
            table[key] = _fitted(options[key], value, f"{source} {key}", faults)
            continue
        kohyas = catalogue.options("kohya", script).get(key)
        if kohyas is None or value != kohyas.default:  # at its default it does nothing
            faults.append(_unknown(script, options, key, source))
    return faults


def _unknown(script: str, options: Mapping[str, Option], key: str, source: str) -> Fault:
    where = f"{source} {key}"
    if key in catalogue.options("kohya", script):
        what = "the embedded trainer does not implement this option; leave it out or use"
        return Fault(where, f'{what} trainer = "kohya".', rule="not-implemented")
    hint = did_you_mean(key, options)
    return Fault(where, "there is no such option.", hint, rule="unknown-option")
