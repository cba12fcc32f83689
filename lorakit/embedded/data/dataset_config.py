"""The dataset TOML, read strictly: kohya's keys at its levels, each falling back from subset to
dataset to [general] to the arguments.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.catalogue.options import Option
from lorakit.dataset.facts import parse_folder
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
AT_LEAST_ONE = ("batch_size", "num_repeats")


@dataclass(frozen=True)
class Subset:
    """A folder and what holds for its pictures, under kohya's names."""

    image_dir: Path
    num_repeats: int = 1
    class_tokens: str | None = None
    caption_extension: str = ".txt"
    is_reg: bool = False
    flip_aug: bool = False
    color_aug: bool = False
    random_crop: bool = False
    alpha_mask: bool = False
    conditioning_data_dir: Path | None = None  # of masks
    resize_interpolation: str | None = None
    caption_prefix: str | None = None
    caption_suffix: str | None = None
    caption_separator: str = ","
    secondary_separator: str | None = None
    keep_tokens: int = 0
    keep_tokens_separator: str | None = None
    shuffle_caption: bool = False
    enable_wildcard: bool = False
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    token_warmup_min: int = 1
    token_warmup_step: float = 0  # below 1: a share of all steps

    @property
    def varies(self) -> bool:
        """Every step may see another caption: too many to encode beforehand."""
        by_tags = self.shuffle_caption or self.caption_tag_dropout_rate > 0
        return by_tags or self.token_warmup_step > 0

    @property
    def varies_by_epoch(self) -> bool:
        dropped = self.caption_dropout_rate or self.caption_dropout_every_n_epochs
        return bool(self.enable_wildcard or dropped)


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
        subsets: list[Subset] = []
        for subset in table.get("subsets", []):
            tables, keys = (subset, table, general), (*DATASET_EVERYWHERE, *SUBSET_LEVEL)
            entry = {key: _first(key, tables, args) for key in keys}
            folder = entry["image_dir"] = Path(str(entry["image_dir"]))
            masks = entry["conditioning_data_dir"]
            entry["conditioning_data_dir"] = Path(masks) if masks else None
            twice = folder in [other.image_dir for other in subsets]
            what = "is listed twice in one dataset." if twice else "is not a folder."
            if twice or not folder.is_dir():
                faults.append(Fault(f"{where} image_dir", f"{folder} {what}"))
            else:
                subsets.append(Subset(**entry))
        if settings["resolution"]:
            datasets.append({**settings, "subsets": tuple(subsets)})
    return datasets


def _from_folders(args: argparse.Namespace, faults: list[Fault]) -> dict[str, Any]:
    """The `N_trigger` folders of `--train_data_dir`, sorted: the disk's order must not matter."""
    subsets = []
    for option in ("train_data_dir", "reg_data_dir"):
        root = getattr(args, option)
        if root and not Path(root).is_dir():
            faults.append(Fault(option, f"{root} is not a folder."))
            continue
        for folder in sorted(Path(root).iterdir()) if root else ():
            name = parse_folder(folder.name)
            if folder.is_dir() and name:
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
    faults += _misread(str(path), data, {"general": Option("general", "table")}, "datasets")
    dataset_keys = {**DATASET_EVERYWHERE, **DATASET_LEVEL}
    faults += _misread(f"{path} [general]", data.get("general", {}), dataset_keys)
    for number, dataset in enumerate(data.get("datasets", [])):
        where = f"{path} datasets[{number}]"
        faults += _misread(where, dataset, dataset_keys, "subsets")
        for index, subset in enumerate(dataset.get("subsets", [])):
            inner = f"{where}.subsets[{index}]"
            faults += _misread(inner, subset, {**DATASET_EVERYWHERE, **SUBSET_LEVEL})
            if "image_dir" not in subset:
                faults.append(Fault(inner, "image_dir is missing."))
    if not data.get("datasets"):
        faults.append(Fault(str(path), "has no [[datasets]]."))
    return {} if faults else data


def _misread(
    where: str, table: Mapping[str, Any], known: Mapping[str, Option], inner: str = ""
) -> Iterator[Fault]:
    """`inner`: the list of tables that belongs to it."""
    for key, value in table.items():
        what, hint, rule = "", "", ""
        if key in DATASET_REFUSED:
            what, rule = "the embedded trainer does not implement it.", "not-implemented"
            hint = 'Leave it out or use trainer = "kohya".'
        elif key == inner:
            tables = isinstance(value, list) and all(isinstance(one, dict) for one in value)
            what = "" if tables else f"{value!r} is not a list of tables."
        elif key not in known:
            what, hint = "does not belong here.", did_you_mean(key, (*known, inner))
        else:
            fitted = fit(known[key], value)
            what, hint = fitted.problem, fitted.hint
            if not what and key in AT_LEAST_ONE and value < 1:
                what = f"{value} must be at least 1."
        if what:
            yield Fault(f"{where} {key}", what, hint, rule)


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
