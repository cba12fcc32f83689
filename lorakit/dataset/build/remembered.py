"""What a dataset remembers about itself, in a small file that belongs in git beside the pictures:
how they are fitted, where one is cropped by hand, and which are not to be used. And beside it what
the review says of each.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from lorakit import json_text, tomllib
from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.build.fit import Box, Fit, Focus, Settings, essential
from lorakit.dataset.build.manifest import Manifest
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.files import write_atomic
from lorakit.toml_text import document_text
from lorakit.user_files import Missing, Unreadable

PLACE = "prepare.toml"
HEAD = "# How `lorakit dataset prepare` makes this dataset's pictures. Commit it beside them.\n"
WISHES = ("fit", "size", "background", "focus", "format", "quality")
MARKS_PLACE = Path(".lorakit") / "review.json"
OUTSIDE = "must lie inside its picture: left, top, right, bottom in shares, each from 0 to 1."
MARKS = ("", "accepted", "flagged")
MUST = {"fit": ", ".join(get_args(Fit)), "focus": ", ".join(get_args(Focus))}


@dataclass(frozen=True)
class Remembered:
    wishes: Mapping[str, Any] = field(default_factory=dict)  # by the names of Settings
    rules: BucketRules | None = None
    dropped: tuple[str, ...] = ()  # originals; pictures of one's own by their place
    crops: Mapping[str, Box] = field(default_factory=dict)  # by original, in shares of its sides

    def with_settings(self, settings: Settings) -> "Remembered":
        kept = essential(settings.as_data())
        rules = settings.rules if settings.fit == "bucket" else None
        return replace(self, wishes={key: kept[key] for key in WISHES if key in kept}, rules=rules)

    def as_data(self) -> dict[str, Any]:
        buckets = {}
        if self.rules:
            buckets = {**asdict(self.rules), "resolution": list(self.rules.resolution)}
        tables = {"buckets": buckets, "crops": {name: [*box] for name, box in self.crops.items()}}
        kept = {name: table for name, table in tables.items() if table}
        return {**self.wishes, "dropped": sorted(self.dropped) or None, **kept}


def read_remembered(root: Path) -> Remembered:
    try:
        data = tomllib.read(root / PLACE)
    except Missing:
        return Remembered()
    faults = []
    for key in (key for key, sound in SOUND.items() if key in data and not sound(data[key])):
        must = f" It must be one of {MUST[key]}." if key in MUST else ""
        where = f"{shown(root / PLACE)} {key} = {data[key]!r}"
        faults.append(Fault(where, f"is not understood.{must}"))
    boxes = data.get("crops", {})
    for name, box in boxes.items() if isinstance(boxes, dict) else ():
        if not is_box(box):
            faults.append(Fault(f"{shown(root / PLACE)} [crops] {shown(name)} = {box}", OUTSIDE))
    if faults:
        hint = "Put it right, or delete the line: what is left out is as if nobody had said it."
        raise RecipeError("Nothing was changed.", faults=faults, hint=hint)
    wishes = {key: data[key] for key in WISHES if key in data}
    if "size" in wishes:
        wishes["size"] = tuple(wishes["size"])
    known = {one.name for one in fields(BucketRules)}
    buckets = {key: value for key, value in data.get("buckets", {}).items() if key in known}
    rules = None
    if "resolution" in buckets:
        rules = BucketRules(**{**buckets, "resolution": tuple(buckets["resolution"])})
    crops = {name: tuple(map(float, box)) for name, box in data.get("crops", {}).items()}
    return Remembered(wishes, rules, tuple(data.get("dropped", ())), crops)  # type: ignore[arg-type]


def remember(root: Path, kept: Remembered) -> None:
    """Written only where it says something else than what is there."""
    if kept != read_remembered(root):
        write_atomic(root / PLACE, HEAD + document_text(kept.as_data()))


def recropped(root: Path) -> list[str]:
    """Pictures that were made with another crop by hand than they are to have."""
    crops = read_remembered(root).crops
    return [
        name
        for name, made in Manifest(root).entries.items()
        if [*crops.get(made.source, ())] != [*made.settings.get("crop", ())]
        and (root / name).exists()
    ]


def _numbers(value: Any, count: int) -> bool:
    numbers = isinstance(value, list) and all(type(one) in {int, float} for one in value)
    return numbers and len(value) == count


def is_box(value: Any) -> bool:
    """Inside the picture, and with something in it."""
    return _numbers(value, 4) and 0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1


SOUND: Mapping[str, Callable[[Any], bool]] = {
    "fit": lambda value: value in get_args(Fit),
    "focus": lambda value: value in get_args(Focus),
    "size": lambda value: _numbers(value, 2),
    "quality": lambda value: type(value) is int,
    "background": lambda value: isinstance(value, str),
    "format": lambda value: isinstance(value, str),
    "dropped": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "buckets": lambda value: (
        isinstance(value, dict) and _numbers(value.get("resolution", [1, 1]), 2)
    ),
    "crops": lambda value: isinstance(value, dict),
}


def read_marks(root: Path) -> dict[str, str]:
    """Pictures that were accepted or flagged in the review, by their place in the dataset."""
    place = root / MARKS_PLACE
    data = json_text.read_or(place, {})
    if not isinstance(data, dict) or not {str(mark) for mark in data.values()} <= {*MARKS}:
        raise Unreadable(
            place, "is not a page's marks.", "Correct it, or move it away and begin anew."
        )
    return {str(name): str(mark) for name, mark in data.items()}


def flagged_in(root: Path) -> list[str]:
    """Those flagged that are still in their place."""
    marks = read_marks(root).items()
    return [name for name, mark in marks if mark == "flagged" and (root / name).exists()]


def write_marks(root: Path, marks: Mapping[str, str]) -> None:
    kept = {name: mark for name, mark in sorted(marks.items()) if mark}
    write_atomic(root / MARKS_PLACE, json.dumps(kept, indent=0, ensure_ascii=False) + "\n")
