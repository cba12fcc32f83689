"""The dataset TOML, read strictly: kohya's keys at its levels, each falling back from subset to
dataset to [general] to the arguments.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.catalogue.options import Option, options
from lorakit.dataset.folder_names import FolderName, parse_folder
from lorakit.errors import Fault, did_you_mean
from lorakit.recipe.values import fit
from lorakit.trainers.embedded.options import (
    DATASET_EVERYWHERE,
    DATASET_LEVEL,
    DATASET_REFUSED,
    SUBSET_LEVEL,
)
from lorakit.user_files import Unreadable

FROM_ARGUMENTS = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
DEFAULTS = {"is_reg": False, "class_tokens": None, "conditioning_data_dir": None}
RESIZING = options("embedded", "train_network.py")["resize_interpolation"].choices
AT_LEAST_ONE = ("batch_size", "num_repeats")


def read_blueprint(args: argparse.Namespace, faults: list[Fault]) -> list[dict[str, Any]]:
    """One dict per dataset with every key filled in and `subsets` a list of the same."""
    file = args.dataset_config
    config = _from_file(Path(file), faults) if file else _from_folders(args, faults)
    general = config.get("general", {})
    datasets = []
    for number, table in enumerate(config.get("datasets", [])):
        where = f"{file or args.train_data_dir} datasets[{number}]"
        settings = {key: _first(key, (table, general), args) for key in DATASET_LEVEL}
        settings["resolution"] = _size(settings["resolution"], where, faults)
        subsets: list[dict[str, Any]] = []
        for subset in table.get("subsets", []):
            tables, keys = (subset, table, general), (*DATASET_EVERYWHERE, *SUBSET_LEVEL)
            entry = {key: _first(key, tables, args) for key in keys}
            folder = Path(str(entry["image_dir"]))
            if not folder.is_dir():
                faults.append(Fault(f"{where} image_dir", f"{folder} is not a folder."))
            elif folder in [Path(str(other["image_dir"])) for other in subsets]:
                faults.append(
                    Fault(f"{where} image_dir", f"{folder} is listed twice in one dataset.")
                )
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
    for option in ("train_data_dir", "reg_data_dir"):
        root = getattr(args, option)
        if root and not Path(root).is_dir():
            faults.append(Fault(option, f"{root} is not a folder."))
            continue
        for folder in sorted(Path(root).iterdir()) if root else ():
            name = parse_folder(folder.name)
            if folder.is_dir() and isinstance(name, FolderName):
                subsets.append(
                    {
                        "image_dir": str(folder),
                        "num_repeats": name.repeats,
                        "class_tokens": name.class_tokens,
                        "is_reg": option == "reg_data_dir",
                    }
                )
    return {"datasets": [{"subsets": subsets}]}


def _from_file(path: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        reader = json_text.read if path.suffix.lower() == ".json" else tomllib.read
        data: dict[str, Any] = reader(path)
    except Unreadable as error:
        faults.append(error.fault)
        return {}
    _check(path, "", data, {"general": "table", "datasets": "tables"}, faults)
    dataset_keys = {**DATASET_EVERYWHERE, **DATASET_LEVEL}
    _check(path, "[general]", data.get("general", {}), dataset_keys, faults)
    for number, dataset in enumerate(data.get("datasets", [])):
        where = f"datasets[{number}]"
        _check(path, where, dataset, {**dataset_keys, "subsets": "tables"}, faults)
        for index, subset in enumerate(dataset.get("subsets", [])):
            inner = f"{where}.subsets[{index}]"
            _check(path, inner, subset, {**DATASET_EVERYWHERE, **SUBSET_LEVEL}, faults)
            if "image_dir" not in subset:
                faults.append(Fault(f"{path} {inner}", "image_dir is missing."))
    if not data.get("datasets"):
        faults.append(Fault(str(path), "has no [[datasets]]."))
    return {} if faults else data


def _check(
    path: Path, where: str, table: Mapping[str, Any], known: Mapping[str, str], faults: list[Fault]
) -> None:
    for key, value in table.items():
        what, hint, rule = "", "", ""
        if key in DATASET_REFUSED:
            what, rule = "the embedded trainer does not implement it.", "not-implemented"
            hint = 'Leave it out or use trainer = "kohya".'
        elif key not in known:
            what, hint = "does not belong here.", did_you_mean(key, known)
        elif known[key] == "tables":
            tables = isinstance(value, list) and all(isinstance(one, dict) for one in value)
            what = "" if tables else f"{value!r} is not a list of tables."
        else:
            choices = RESIZING if key == "resize_interpolation" else ()
            fitted = fit(Option(key, known[key], choices=choices), value)
            what, hint = fitted.problem, fitted.hint
            if not what and key in AT_LEAST_ONE and value < 1:
                what = f"{value} must be at least 1."
        if what:
            spot = f"{path} {where} {key}".replace("  ", " ")
            faults.append(Fault(spot, what, hint, rule))


def _first(key: str, tables: tuple[Mapping[str, Any], ...], args: argparse.Namespace) -> Any:
    for table in tables:
        if table.get(key) is not None:
            return table[key]
    return DEFAULTS[key] if key in DEFAULTS else getattr(args, FROM_ARGUMENTS.get(key, key), None)


def _size(value: Any, where: str, faults: list[Fault]) -> tuple[int, int] | None:
    """A number, [width, height], or the arguments' text "512" or "512,768"."""
    try:
        if isinstance(value, str):
            value = [int(part) for part in value.split(",")]
        sides = [value] if isinstance(value, int) else list(value)
        width, height = sides if len(sides) == 2 else (sides[0], sides[0])
    except (TypeError, ValueError):
        what = f"{value!r} is not a size." if value else "must be set."
        faults.append(Fault(f"{where} resolution", what))
        return None
    return int(width), int(height)
