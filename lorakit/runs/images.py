"""A run's own list of the images it trained on: dataset.json, written beside the training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit import json_text
from lorakit.dataset.captions.read import read_words
from lorakit.errors import LorakitError
from lorakit.files import below, write_atomic
from lorakit.plan.model import Plan
from lorakit.typed_json import Part, rare
from lorakit.user_files import Missing, Unreadable
from lorakit.weights.hashes import sha256_of_all

LIST = "dataset.json"


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


def images_of(plan: Plan) -> list[ImageRow]:
    """What the plan would train on, hashed, by relative path."""
    root = plan.dataset.root
    images = [(subset, image) for subset in plan.dataset.subsets for image in subset.images]
    hashes = sha256_of_all(
        path for _, image in images for path in (image.path, image.caption_path) if path
    )
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
        )
        for subset, image in images
    ]
    return sorted(rows, key=lambda row: row.image)


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
        raise LorakitError(
            f"{path}: not a list of images any more ({error}). Was it edited by hand?"
        ) from error


def digest_of(rows: Sequence[ImageRow]) -> str:
    """The dataset in one hash: relative paths, hashes, repeats; no times, no places."""
    text = "\n".join(
        f"{row.image}\t{row.sha256}\t{row.caption_sha256 or ''}\t{row.repeats}" for row in rows
    )
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
