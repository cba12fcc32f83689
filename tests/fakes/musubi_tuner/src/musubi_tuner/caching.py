"""What both cachers of the stand-in share: the dataset file, the bar without a total, and removing what is not of this dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import toml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[3]))

from saying import say

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"}


def tables(path: str) -> Iterator[dict[str, Any]]:
    data = toml.load(path)
    for table in data["datasets"]:
        yield {**data["general"], **table}


def captioned(table: dict[str, Any]) -> list[Path]:
    """A picture without its caption file is left out silently."""
    place = Path(table["image_directory"])
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in ENDINGS)
    return [path for path in found if path.with_suffix(table["caption_extension"]).is_file()]


def size_of(picture: Path) -> tuple[int, int]:
    """As its header says; some of the pictures have no body."""
    with Image.open(picture) as image:
        return image.width, image.height


def cache(
    option: str, ending: str, made: Callable[[Path, dict[str, Any]], tuple[str, str]]
) -> None:
    """`made` gives name and content of a picture's cache."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset_config", required=True)
    parser.add_argument(f"--{option}", required=True)
    args, _ = parser.parse_known_args()
    if not Path(getattr(args, option)).is_file():
        raise FileNotFoundError(getattr(args, option))
    for table in tables(args.dataset_config):
        folder, written = Path(table["cache_directory"]), set()
        folder.mkdir(parents=True, exist_ok=True)
        for count, picture in enumerate(captioned(table), 1):
            name, content = made(picture, table)
            (folder / name).write_text(content, encoding="utf-8")
            written.add(name)
            say(f"\r{count}it [00:0{count % 10}, 2.45s/it]", end="")
        for path in folder.glob("*.safetensors"):
            own = path.name.endswith("_te.safetensors") == (ending == "_te.safetensors")
            if own and path.name not in written:
                path.unlink()
    say("\nDone!")
