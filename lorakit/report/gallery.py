"""The pictures of a run: what it was trained on, by subset and bucket, and the samples it drew, by
step and prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit import tomllib
from lorakit.dataset.buckets import Chooser, UnfitError
from lorakit.errors import LorakitError
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.report.pictures import Budget, Picture, shrink, spread
from lorakit.runs.images import ImageRow, read_images
from lorakit.runs.record import Record
from lorakit.user_files import Unreadable

PROMPTS = "prompts.toml"
THUMBNAILS = Budget(side=176, count=200, size_bytes=4_000_000)
SAMPLES = Budget(side=448, count=180, size_bytes=8_000_000, quality=80)


@dataclass(frozen=True)
class Thumbnail:
    name: str  # the file's, without its folder
    bucket: tuple[int, ...]  # width and height; () where there is none
    caption: str | None
    size: str
    picture: Picture


@dataclass(frozen=True)
class ShownSubset:
    name: str
    repeats: int
    images: int  # all of them, shown or not
    shown: tuple[Thumbnail, ...]  # by bucket, then by name


@dataclass(frozen=True)
class ShownSample:
    step: int
    prompt: int
    name: str
    picture: Picture


@dataclass(frozen=True)
class Samples:
    steps: tuple[int, ...]  # those that are shown
    prompts: tuple[str, ...]  # the words, by number
    shown: tuple[ShownSample, ...]
    left_out: int  # pictures

    def words(self, prompt: int) -> str:
        return self.prompts[prompt] if prompt < len(self.prompts) else f"prompt {prompt}"


def dataset_of(run_dir: Path, record: Record, budget: Budget = THUMBNAILS) -> list[ShownSubset]:
    """From the run's own list of images; empty where it is not written yet. Files that have gone
    since are named.
    """
    subsets: dict[str, list[ImageRow]] = {}
    for row in _images(run_dir, record):
        subsets.setdefault(Path(row.image).parent.name, []).append(row)
    shares = _shares(subsets, budget.count)
    chosen = [
        (name, rows[at]) for name, rows in subsets.items() for at in spread(len(rows), shares[name])
    ]
    root = Path(record.dataset.root or ".")
    pictures = shrink([root / row.image for _, row in chosen], budget)
    chooser = _chooser(record)
    shown: dict[str, list[Thumbnail]] = {name: [] for name in subsets}
    for (name, row), picture in zip(chosen, pictures, strict=True):
        if picture.url or picture.fault:
            shown[name].append(_thumbnail(row, picture, chooser))
    return [
        ShownSubset(name, rows[0].repeats, len(rows), _in_order(shown[name]))
        for name, rows in subsets.items()
    ]


def _in_order(shown: Sequence[Thumbnail]) -> tuple[Thumbnail, ...]:
    return tuple(sorted(shown, key=lambda one: (one.bucket, one.name)))


def samples_of(run_dir: Path, record: Record, budget: Budget = SAMPLES) -> Samples:
    """Every prompt at every step; where there are too many pictures, complete steps are left out,
    evenly.
    """
    paths = {(one.step or 0, one.prompt or 0): one.path for one in record.samples if one.path}
    steps = sorted({step for step, _ in paths})
    widest = max((sum(step == one for step, _ in paths) for one in steps), default=1)
    kept = {steps[at] for at in spread(len(steps), max(1, budget.count // widest))}
    still = [key for key in sorted(paths) if Path(paths[key]).suffix != ".mp4"]
    wanted = [key for key in still if key[0] in kept]
    pictures = shrink([run_dir / paths[key] for key in wanted], budget)
    shown = tuple(
        ShownSample(*key, Path(paths[key]).name, picture)
        for key, picture in zip(wanted, pictures, strict=True)
        if picture.url or picture.fault
    )
    drawn = tuple(sorted({one.step for one in shown}))
    # A stage has its own list of prompts.
    folder = run_dir if (run_dir / PROMPTS).is_file() else record.output_dir(run_dir).parent
    return Samples(drawn, _prompts(folder / PROMPTS), shown, len(paths) - len(shown))


def _thumbnail(row: ImageRow, picture: Picture, chooser: Chooser | None) -> Thumbnail:
    bucket: tuple[int, ...] = ()
    if chooser is not None:
        with contextlib.suppress(UnfitError):
            bucket = chooser.choose(row.width, row.height).bucket
    size = f"{row.width} × {row.height}"
    return Thumbnail(Path(row.image).name, bucket, row.caption, size, picture)


def _chooser(record: Record) -> Chooser | None:
    """The bucket rules that the plan used, from the settings in the record."""
    used = record.settings.get("train", {})
    train = {key: Setting(setting.value, "") for key, setting in used.items()}
    trainer = record.trainer.name or "kohya"
    resolved = Resolved(Path(), Path(), "", "", "", record.family, trainer, train=train)
    try:
        return Chooser(Options(resolved).bucket_rules)
    except (ValueError, KeyError):
        return None


def _shares(groups: Mapping[str, Sequence[object]], most: int) -> dict[str, int]:
    """Small subsets complete, large ones share what is left."""
    shares: dict[str, int] = {}
    by_size = sorted(groups, key=lambda name: len(groups[name]))
    for place, name in enumerate(by_size):
        shares[name] = min(len(groups[name]), most // (len(by_size) - place))
        most -= shares[name]
    return shares


def _images(run_dir: Path, record: Record) -> list[ImageRow]:
    try:
        return read_images(run_dir, record.dataset.files) or []
    except LorakitError:
        return []


def _prompts(path: Path) -> tuple[str, ...]:
    try:
        data = tomllib.read(path)
        return tuple(str(entry.get("prompt", "")) for entry in data["prompt"]["subset"])
    except (Unreadable, KeyError, AttributeError, TypeError):
        return ()
