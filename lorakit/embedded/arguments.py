"""Reading what the person asked for: command line over TOML over default, as kohya's scripts do,
but strict, all faults at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue import options as catalogue
from lorakit.catalogue.options import Option
from lorakit.errors import Fault, RecipeError, did_you_mean, raise_on_errors
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
    asked = {**table, **given}
    values = {name: option.default for name, option in options.items()} | {
        k: v for k, v in asked.items() if k in options
    }
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
        if option.type == "bool":
            parser.add_argument(f"--{option.name}", action="store_true")
        else:
            parser.add_argument(
                f"--{option.name}",
                nargs="*" if option.many else None,
                metavar="VALUE",
                help=option.help or None,
            )
    known, unknown = parser.parse_known_args(list(argv))
    given: dict[str, Any] = {}
    for name, value in vars(known).items():
        option = options[name]
        try:
            given[name] = (
                [_from_text(option, part) for part in value]
                if isinstance(value, list)
                else _from_text(option, value)
            )
        except ValueError as error:
            faults.append(Fault(f"--{name}", f"{value!r} is not {_kind(option)}: {error}"))
    faults += [
        _unknown(script, options, word.split("=")[0].lstrip("-"), "command line")
        for word in unknown
        if word.startswith("--")
    ]
    faults += [
        Fault("command line", f"{word!r} belongs to no option.")
        for word in unknown
        if not word.startswith("--")
    ]
    return given


def _from_text(option: Option, value: Any) -> Any:
    if option.type == "bool" or not isinstance(value, str):
        return value
    if option.type == "int":
        return int(value)
    if option.type == "float":
        return float(value)
    if option.type == "number":
        if value.endswith("%"):
            return float(value[:-1]) / 100
        return float(value) if set(value) & set(".eE") else int(value)
    return value


def _config_file(path: Path) -> tuple[dict[str, Any], str]:
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(
            value if isinstance(value, dict) else {key: value}
        )  # one level of tables, whose names do not count
    return flat, str(path)


def _checked(
    script: str, options: Mapping[str, Option], table: dict[str, Any], source: str
) -> list[Fault]:
    faults = []
    for key in list(table):
        option = options.get(key)
        if option is None:
            if not _harmless(script, key, table[key]):
                faults.append(_unknown(script, options, key, source))
            continue
        if (
            option.type == "float"
            and isinstance(table[key], int)
            and not isinstance(table[key], bool)
        ):
            table[key] = float(table[key])
        if option.many and option.type == "float" and isinstance(table[key], (int, float)):
            table[key] = [float(table[key])]  # text_encoder_lr may be a bare number
        if not _fits(option, table[key]):
            faults.append(Fault(f"{source} {key}", f"{table[key]!r} is not {_kind(option)}."))
    return faults


def _harmless(script: str, key: str, value: Any) -> bool:
    """An option of kohya's that we do not implement, standing at the value that does nothing."""
    known = catalogue.options("kohya", script).get(key)
    return known is not None and value == known.default


def _unknown(script: str, options: Mapping[str, Option], key: str, source: str) -> Fault:
    if key in catalogue.options("kohya", script):
        return Fault(
            f"{source} {key}",
            "the embedded trainer does not implement this option; leave it out or use trainer ="
            ' "kohya".',
            rule="not-implemented",
        )
    return Fault(
        f"{source} {key}",
        "there is no such option.",
        did_you_mean(key, options),
        rule="unknown-option",
    )


def _fits(option: Option, value: Any) -> bool:
    if option.many:
        return isinstance(value, list) and all(_fits_one(option.type, part) for part in value)
    return _fits_one(option.type, value)


def _fits_one(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "number": (int, float),
        "bool": (),
        "str": (str,),
    }
    return isinstance(value, kinds[kind])


def _kind(option: Option) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "number": "a number of steps or a share below 1",
        "bool": "true or false",
        "str": "a text",
    }
    return ("a list of which each is " if option.many else "") + words[option.type]
