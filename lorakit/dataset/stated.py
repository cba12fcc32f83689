"""What a recipe says of one folder: repeats, or the metadata file of kohya's fine-tuning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.user_files import Unreadable, read_text


@dataclass(frozen=True)
class Stated:
    repeats: int
    class_tokens: str
    metadata: Path | None = None
    separator: str = ","  # between a caption and its tags


@dataclass(frozen=True)
class Described:
    """An image as its metadata has it. `size` is None where the file leaves it to the image."""

    name: str  # as the metadata has it
    path: Path
    caption: str
    size: tuple[int, int] | None


def read_metadata(file: Path, folder: Path, separator: str) -> list[Described]:
    """JSON, a table by image, or JSONL, a line for each. Raises Unreadable where it is neither."""
    try:
        if file.suffix == ".jsonl":
            lines = read_text(file, most=json_text.MOST).splitlines()
            entries = [(entry["image_path"], entry) for entry in map(json_text.loads, lines)]
        else:
            entries = list(json_text.read(file).items())
        return [_described(name, folder / name, entry, separator) for name, entry in entries]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"is no metadata of images ({type(error).__name__}: {error})."
        hint = 'Such as {"a.png": {"caption": "...", "tags": "..."}}.'
        raise Unreadable(file, what, hint) from error


def _described(name: str, path: Path, entry: Any, separator: str) -> Described:
    caption, tags = entry.get("caption") or "", entry.get("tags") or ""
    if not isinstance(caption, str) or not isinstance(tags, str):
        raise TypeError(f"{path.name}: caption and tags are texts")
    size = entry.get("image_size")
    if size is not None:
        width, height = map(int, size)
        size = (width, height)
    return Described(name, path, separator.join(filter(None, (caption, tags))), size)
