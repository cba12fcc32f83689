"""A run's own list of the images it trained on: dataset.json, written beside the training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lorakit import json_text
from lorakit.errors import LorakitError
from lorakit.user_files import Missing

LIST = "dataset.json"


class ImageRow(NamedTuple):
    image: str  # below the dataset's folder
    sha256: str
    caption_sha256: str | None
    caption: str | None
    repeats: int
    width: int
    height: int
    caption_file: str = ""  # where it is not beside the image


def read_images(run_dir: Path, name: str = LIST) -> list[ImageRow] | None:
    """None where the run ended before the list was written."""
    path = run_dir / (name or LIST)
    try:
        return [
            ImageRow(
                str(row["image"]),
                row["sha256"],
                row.get("caption_sha256"),
                row.get("caption"),
                int(row.get("repeats") or 0),
                int(row.get("width") or 0),
                int(row.get("height") or 0),
                str(row.get("caption_file") or ""),
            )
            for row in json_text.read(path)
        ]
    except Missing:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LorakitError(
            f"{path}: not a list of images any more ({error}). Was it edited by hand?"
        ) from error
