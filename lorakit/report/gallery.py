"""The pictures of a run: what it was trained on, by subset and bucket, and what it drew on the
way, by step and prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.dataset.buckets import Chooser, UnfitError
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.report.pictures import Budget, Picture, shrink, spread

PROMPTS = "prompts.toml"
THUMBNAILS = Budget(side=176, count=200, size_bytes=4_000_000)
SAMPLES = Budget(side=448, count=180, size_bytes=8_000_000, quality=80)


@dataclass(frozen=True)
class Thumbnail:
    name: str  # the file's, without its folder
    bucket: str  # "832 x 1216"; empty where none could be computed
    caption: str | None
    size: str
    picture: Picture


@dataclass(frozen=True)
class Subset:
    name: str
    repeats: int
    images: int  # all of them, shown or not
    shown: tuple[Thumbnail, ...]  # by bucket, then by name


@dataclass(frozen=True)
class Sample:
    step: int
    prompt: int
    name: str
    picture: Picture


@dataclass(frozen=True)
class Samples:
    steps: tuple[int, ...]  # those that are shown
    prompts: tuple[str, ...]  # the words, by number
    shown: tuple[Sample, ...]
    left_out: int  # pictures


def dataset_of(
    run_dir: Path, record: Mapping[str, Any], budget: Budget = THUMBNAILS
) -> list[Subset]:
    """From the run's own list of images; empty where it is not written yet. Files that have gone
    since are named as gone.
    """
    rows = _rows(run_dir / str(record["dataset"].get("files") or "dataset.json"))
    root = Path(str(record["dataset"].get("root") or "."))
    by_subset: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_subset.setdefault(Path(str(row.get("image"))).parent.name, []).append(row)
    chosen = [
        (name, rows[place])
        for (name, rows), most in zip(
            by_subset.items(), _shares(by_subset, budget.count), strict=True
        )
        for place in spread(len(rows), most)
    ]
    pictures = shrink([root / str(row.get("image")) for _, row in chosen], budget)
    chooser = _chooser(record)
    shown: dict[str, list[Thumbnail]] = {name: [] for name in by_subset}
    for (name, row), picture in zip(chosen, pictures, strict=True):
        if picture.url or picture.fault:
            shown[name].append(_thumbnail(row, picture, chooser))
    return [
        Subset(
            name,
            int(rows[0].get("repeats") or 0),
            len(rows),
            tuple(sorted(shown[name], key=_place)),
        )
        for name, rows in by_subset.items()
    ]


def samples_of(run_dir: Path, record: Mapping[str, Any], budget: Budget = SAMPLES) -> Samples:
    """Every prompt at every step; whole steps are left out, evenly, when there are too many
    pictures.
    """
    entries = {
        (int(entry.get("step") or 0), int(entry.get("prompt") or 0)): str(entry.get("path"))
        for entry in record["samples"]
        if entry.get("path")
    }
    steps = sorted({step for step, _ in entries})
    widest = max((sum(step == one for step, _ in entries) for one in steps), default=1)
    kept = [steps[place] for place in spread(len(steps), max(1, budget.count // widest))]
    wanted = [key for key in sorted(entries) if key[0] in set(kept)]
    pictures = shrink([run_dir / entries[key] for key in wanted], budget)
    shown = tuple(
        Sample(*key, Path(entries[key]).name, picture)
        for key, picture in zip(wanted, pictures, strict=True)
        if picture.url or picture.fault
    )
    drawn = tuple(sorted({sample.step for sample in shown}))
    written = (
        run_dir
        if (run_dir / PROMPTS).is_file()
        else (run_dir / str(record.get("output") or "output")).parent
    )  # a stage has its own
    return Samples(drawn, _prompts(written), shown, len(entries) - len(shown))


def _thumbnail(row: Mapping[str, Any], picture: Picture, chooser: Chooser | None) -> Thumbnail:
    width, height = int(row.get("width") or 0), int(row.get("height") or 0)
    bucket = ""
    if chooser is not None:
        try:
            bucket = "{} × {}".format(*chooser.choose(width, height).bucket)
        except UnfitError:
            bucket = "no bucket"
    caption = row.get("caption")
    return Thumbnail(
        Path(str(row.get("image"))).name,
        bucket,
        None if caption is None else str(caption),
        f"{width} × {height}",
        picture,
    )


def _chooser(record: Mapping[str, Any]) -> Chooser | None:
    """The bucket rules that the plan used, from the settings in the record."""
    said = record["settings"].get("train", {})
    train = {
        key: Setting(entry.get("value"), "")
        for key, entry in said.items()
        if isinstance(entry, Mapping)
    }
    try:
        return Chooser(
            Options(
                Resolved(
                    Path(),
                    Path(),
                    *("", "", "", str(record.get("family"))),
                    str(record.get("trainer") or "kohya"),
                    train=train,
                )
            ).bucket_rules
        )
    except (ValueError, KeyError):
        return None


def _shares(groups: Mapping[str, Sequence[Any]], most: int) -> list[int]:
    """Small subsets whole, large ones share what is left."""
    left, open_groups = most, sorted(groups, key=lambda name: len(groups[name]))
    shares: dict[str, int] = {}
    for place, name in enumerate(open_groups):
        shares[name] = min(len(groups[name]), left // (len(open_groups) - place))
        left -= shares[name]
    return [shares[name] for name in groups]


def _place(one: Thumbnail) -> tuple[tuple[int, ...], str]:
    return tuple(int(word) for word in one.bucket.split(" × ") if word.isdigit()), one.name


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return (
        [row for row in rows if isinstance(row, Mapping) and row.get("image")]
        if isinstance(rows, list)
        else []
    )


def _prompts(folder: Path) -> tuple[str, ...]:
    try:
        data = tomllib.loads((folder / PROMPTS).read_text(encoding="utf-8"))
        return tuple(str(entry.get("prompt", "")) for entry in data["prompt"]["subset"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return ()
