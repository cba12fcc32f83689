"""A run's own list of the images it trained on: dataset.json, written beside the training."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lorakit import json_text
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.facts import controls_of
from lorakit.errors import LorakitError
from lorakit.files import below, write_atomic
from lorakit.plan.model import Plan
from lorakit.recipe.options import Options
from lorakit.typed_json import Part, rare
from lorakit.user_files import Missing, Unreadable
from lorakit.weights.hashes import sha256_of_all

LIST = "dataset.json"


@dataclass(frozen=True)
class ControlRow(Part):
    image: str  # that another is made from; seen from the dataset's folder
    sha256: str | None = None


@dataclass(frozen=True)
class ImageRow(Part):
    image: str  # below the dataset's folder
    sha256: str | None = None
    caption: str | None = None  # itself: diff and report show it
    caption_sha256: str | None = None
    repeats: int = 0
    width: int = 0
    height: int = 0
    caption_file: str = rare("")  # where it is not beside the image
    controls: tuple[ControlRow, ...] = rare(())


def images_of(plan: Plan) -> list[ImageRow]:
    """What the plan would train on, hashed, by relative path."""
    root = plan.dataset.root
    images = [(subset, image) for subset in plan.dataset.subsets for image in subset.images]
    controls = controls_in(plan)
    hashes = sha256_of_all(files_in(plan))
    rows = [
        ImageRow(
            image=below(image.path, root),
            sha256=hashes.get(image.path),
            caption=image.caption if subset.metadata else _caption(image.caption_path),
            caption_sha256=hashes.get(image.caption_path) if image.caption_path else None,
            repeats=subset.repeats,
            width=image.width,
            height=image.height,
            caption_file=str(subset.metadata or ""),
            controls=tuple(
                ControlRow(Path(os.path.relpath(one, root)).as_posix(), hashes.get(one))
                for one in controls.get(image.path, ())
            ),
        )
        for subset, image in images
    ]
    return sorted(rows, key=lambda row: row.image)


def files_in(plan: Plan) -> Iterator[Path]:
    """Every picture, caption and control picture."""
    for image in plan.dataset.images:
        yield from filter(None, (image.path, image.caption_path))
    yield from chain(*controls_in(plan).values())


def controls_in(plan: Plan) -> dict[Path, list[Path]]:
    """What each picture is made from, where the recipe names a folder of that."""
    found: dict[Path, list[Path]] = {}
    for subset in plan.dataset.trained:
        place = Path(Options(plan.resolved).subset(subset.path.name).get("control_directory", ""))
        if place.name and place.is_dir():
            found |= controls_of([one.path for one in subset.images], place, numbered=True)
    return found


def write_images(run_dir: Path, rows: Sequence[ImageRow]) -> None:
    text = json.dumps([row.to_json() for row in rows], indent=0, ensure_ascii=False)
    write_atomic(run_dir / LIST, text + "\n")


def read_images(run_dir: Path, name: str = LIST) -> list[ImageRow] | None:
    """None where the run ended before the list was written."""
    path = run_dir / (name or LIST)
    try:
        return [ImageRow.from_json(row) for row in json_text.read(path)]
    except Missing:
        return None
    except (ValueError, TypeError) as error:
        what = f"{path}: not a list of images any more ({error}). Was it edited by hand?"
        raise LorakitError(what) from error


def digest_of(rows: Sequence[ImageRow]) -> str:
    """The dataset in one hash: relative paths, hashes, repeats; no times, no places."""
    lines = (
        [row.image, row.sha256, row.caption_sha256 or "", row.repeats]
        + [one.sha256 for one in row.controls]
        for row in rows
    )
    text = "\n".join("\t".join(map(str, line)) for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_stages(digests: Sequence[str | None]) -> str | None:
    """One hash over the stages' datasets; none until each has its own."""
    text = "\n".join(map(str, digests))
    return hashlib.sha256(text.encode()).hexdigest() if all(digests) else None


def _caption(path: Path | None) -> str | None:
    try:
        words = read_words(path) if path else None
    except Unreadable:
        return None
    return words.text.strip() if words else None
