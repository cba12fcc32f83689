"""What a dataset is, as far as planning must know: names, sizes from headers, captions, repeats.
Pure data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import Fault

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
)  # all-lower or all-upper: kohya globs exactly these


@dataclass(frozen=True)
class ImageFacts:
    """One image that will be trained on. Size is the raw header's, as kohya reads it: EXIF
    orientation is not applied.
    """

    path: Path
    width: int
    height: int
    caption_path: Path | None  # None: no caption file, so class tokens are used
    size_bytes: int
    mtime_ns: int
    caption: str = ""  # the text as kohya feeds it: first line of the file, or the class tokens


@dataclass(frozen=True)
class SubsetFacts:
    """One `N_trigger` folder, or one of which the recipe says the same."""

    path: Path
    repeats: int
    class_tokens: str
    images: tuple[ImageFacts, ...]
    is_reg: bool = False
    metadata: Path | None = None  # names images and captions in place of the folder's own files

    @property
    def captioned(self) -> int:
        return sum(image.caption_path is not None for image in self.images)


@dataclass(frozen=True)
class DatasetFacts:
    """Everything the plan needs, and a word about every folder or file that kohya would have
    dropped silently.
    """

    root: Path
    subsets: tuple[SubsetFacts, ...]  # sorted by folder name; reg subsets after the others
    faults: tuple[Fault, ...] = ()

    @property
    def image_count(self) -> int:
        return sum(len(subset.images) for subset in self.subsets if not subset.is_reg)
