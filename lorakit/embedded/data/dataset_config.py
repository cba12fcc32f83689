"""The dataset TOML, read strictly: kohya's keys at its levels, each falling back from subset to
dataset to [general] to the arguments.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue import options as catalogue
from lorakit.catalogue.options import Option
from lorakit.dataset.folder_names import FolderName, parse_folder
from lorakit.errors import Fault, did_you_mean
from lorakit.recipe.values import fit
from lorakit.trainers.embedded.options import (
    DATASET_EVERYWHERE,
    DATASET_LEVEL,
    DATASET_REFUSED,
    SUBSET_LEVEL,
)

FROM_ARGUMENTS = {
    "batch_size": "train_batch_size",
    "num_repeats": "dataset_repeats",
}  # where the two names differ
DEFAULTS = {"is_reg": False, "class_tokens": None}
CHOICES = {
    "resize_interpolation": (
        catalogue.options("embedded", "train_network.py")["resize_interpolation"].choices
    )
}
AT_LEAST_ONE = ("batch_size", "num_repeats")
WORDS = {
    "bool": "true or false",
    "int": "an integer",
    "str": "a text",
    "number": "a number",
    "size": "an integer or [width, height]",
}


def read_blueprint(args: argparse.Namespace, faults: list[Fault]) -> list[dict[str, Any]]:
    """One dict per dataset with every key filled in and `subsets` a list of the same."""
    config = (
        _from_folders(args, faults)
        if not args.dataset_config
        else _from_file(Path(args.dataset_config), faults)
    )
    general = config.get("general", {})
    datasets = []
    for number, table in enumerate(config.get("datasets", [])):
        where = f"{args.dataset_config or args.train_data_dir} datasets[{number}]"
        settings = {key: _first(key, (table, general), args) for key in DATASET_LEVEL}
        settings["resolution"] = _size(settings["resolution"], where, faults)
        subsets: list[dict[str, Any]] = []
        for subset in table.get("subsets", []):
            entry = {
                key: _first(key, (subset, table, general), args)
                for key in (*DATASET_EVERYWHERE, *SUBSET_LEVEL)
            }
            folder = Path(str(entry["image_dir"]))
            if not folder.is_dir():
                faults.append(Fault(f"{where} image_dir", f"{folder} is not a folder."))
            elif folder in [Path(str(other["image_dir"])) for other in subsets]:
                faults.append(Fault(f"{where} image_dir", f"{folder} stands twice in one dataset."))
            else:
                subsets.append(entry)
        if settings["resolution"]:
            datasets.append({**settings, "subsets": subsets})
    return datasets


def _from_folders(args: argparse.Namespace, faults: list[Fault]) -> dict[str, Any]:
    """`--train_data_dir`: its immediate `N_trigger` folders, sorted, so that no directory order
    matters.
    """
    subsets = []
    for root, is_reg in ((args.train_data_dir, False), (args.reg_data_dir, True)):
        if not root:
            continue
        if not Path(root).is_dir():
            faults.append(
                Fault("reg_data_dir" if is_reg else "train_data_dir", f"{root} is not a folder.")
            )
            continue
        for folder in sorted(Path(root).iterdir()):
            name = parse_folder(folder.name)
            if folder.is_dir() and isinstance(name, FolderName):
                subsets.append(
                    {
                        "image_dir": str(folder),
                        "num_repeats": name.repeats,
                        "class_tokens": name.class_tokens,
                        "is_reg": is_reg,
                    }
                )
    return {"datasets": [{"subsets": subsets}]}


def _from_file(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            import json

            data: dict[str, Any] = json.loads(text)
        else:
            data = tomllib.loads(text)
    except FileNotFoundError:
        faults.append(Fault(str(path), "no such file."))
        return {}
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
    ) as error:  # TOML's and JSON's errors are ValueErrors
        faults.append(Fault(str(path), str(error)))
        return {}
    everywhere = DATASET_EVERYWHERE
    _check(path, "", data, {"general": "table", "datasets": "tables"}, faults)
    _check(path, "[general]", data.get("general", {}), {**everywhere, **DATASET_LEVEL}, faults)
    for number, dataset in enumerate(data.get("datasets", [])):
        _check(
            path,
            f"datasets[{number}]",
            dataset,
            {**everywhere, **DATASET_LEVEL, "subsets": "tables"},
            faults,
        )
        for index, subset in enumerate(dataset.get("subsets", [])):
            where = f"datasets[{number}].subsets[{index}]"
            _check(path, where, subset, {**everywhere, **SUBSET_LEVEL}, faults)
            if "image_dir" not in subset:
                faults.append(Fault(f"{path} {where}", "image_dir is missing."))
    if not data.get("datasets"):
        faults.append(Fault(str(path), "has no [[datasets]]."))
    return {} if faults else data


def _check(
    path: Path, where: str, table: Mapping[str, Any], known: Mapping[str, str], faults: list[Fault]
) -> None:
    for key, value in table.items():
        spot = f"{path} {where} {key}".replace("  ", " ")
        if key in DATASET_REFUSED:
            faults.append(
                Fault(
                    spot,
                    "the embedded trainer does not implement it.",
                    'Leave it out or use trainer = "kohya".',
                    rule="not-implemented",
                )
            )
        elif key not in known:
            faults.append(Fault(spot, "does not belong here.", did_you_mean(key, known)))
        elif not _fits(known[key], value):
            faults.append(Fault(spot, f"{value!r} is not {WORDS.get(known[key], 'a table')}."))
        elif key in CHOICES and value not in CHOICES[key]:
            faults.append(Fault(spot, f"{value!r} must be one of {', '.join(CHOICES[key])}."))
        elif key in AT_LEAST_ONE and value < 1:
            faults.append(Fault(spot, f"{value} must be at least 1."))


def _fits(kind: str, value: Any) -> bool:
    if kind == "table":
        return isinstance(value, dict)
    if kind == "tables":
        return isinstance(value, list) and all(isinstance(part, dict) for part in value)
    if kind == "size" and isinstance(value, list):
        return len(value) == 2 and all(_fits("int", part) for part in value)
    return not fit(Option("", {"size": "int", "number": "float"}.get(kind, kind)), value).problem


def _first(key: str, tables: tuple[Mapping[str, Any], ...], args: argparse.Namespace) -> Any:
    for table in tables:
        if table.get(key) is not None:
            return table[key]
    return DEFAULTS[key] if key in DEFAULTS else getattr(args, FROM_ARGUMENTS.get(key, key), None)


def _size(value: Any, where: str, faults: list[Fault]) -> tuple[int, int] | None:
    """A number, [width, height], or the arguments' text "512" or "512,768"."""
    try:
        parts = (
            [int(part) for part in value.split(",")]
            if isinstance(value, str)
            else [value]
            if isinstance(value, int)
            else list(value)
        )
        width, height = parts if len(parts) == 2 else (parts[0], parts[0])
    except (TypeError, ValueError):
        faults.append(
            Fault(f"{where} resolution", f"{value!r} is not a size." if value else "must be set.")
        )
        return None
    return int(width), int(height)
