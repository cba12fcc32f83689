"""What a dataset is, as far as planning must know: names, sizes, captions, repeats."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import Fault, RecipeError

# all lower or all upper case: kohya globs exactly these
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
USED = frozenset(IMAGE_SUFFIXES) | {suffix.upper() for suffix in IMAGE_SUFFIXES}
_THEIRS = ("heic", "heif", "jxl", "svg", "dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2")
_PILLOWS = ("gif", "tif", "tiff", "avif", "jfif", "jpe", "jp2", "psd", "ico", "tga", "apng", "pcx")
FOREIGN = frozenset(f".{kind}" for kind in _THEIRS)  # not ours either
# What musubi-tuner opens as a film, in lower or in upper case.
_FILMS = ("mp4", "webm", "avi", "mkv", "mov", "flv", "wmv", "m4v", "mpg", "mpeg")
FILMS = frozenset(f".{kind}" for name in _FILMS for kind in (name, name.upper()))
OTHER_IMAGES = FOREIGN | {f".{kind}" for kind in (*_PILLOWS, "ppm")}
FORBIDDEN = frozenset('/\\\0\n\r\t:*?"<>|')  # some system refuses it, or it breaks a line


@dataclass(frozen=True)
class FolderName:
    """`oddity` is set where kohya reads something that may not be meant."""

    repeats: int
    class_tokens: str
    oddity: str = ""


def repeats_said(name: str) -> int | None:
    """Exactly kohya's rule: int() of what is before the first underscore."""
    try:
        return int(name.partition("_")[0])
    except ValueError:
        return None


def parse_folder(name: str) -> FolderName | None:
    """None: kohya passes over it; of less than 1 repeat without even a warning in its log."""
    head, _, rest = name.partition("_")
    repeats = repeats_said(name) or 0
    return FolderName(repeats, rest, _oddity(head, repeats, rest)) if repeats > 0 else None


def _oddity(head: str, repeats: int, rest: str) -> str:
    if not rest:
        return (
            "no class tokens after the number: images without a caption file get an empty caption"
        )
    second, _, tail = rest.partition("_")
    if second.isdigit() and tail:
        return f'read as {repeats} repeats of "{rest}", not as {head}{second} repeats of "{tail}"'
    if head != str(repeats):
        return f'"{head}" is read as {repeats} repeats'
    if rest != rest.strip():
        return f'the class tokens are "{rest}", spaces included'
    return ""


def format_folder(repeats: int, tokens: str) -> str:
    """The name of a subset's folder; refuses what would not be read back as the same two things."""
    if repeats < 1:
        raise RecipeError(f"{repeats} repeats: must be at least 1.")
    bad = sorted(FORBIDDEN & set(tokens))
    if bad or tokens != tokens.strip():
        why = f"because of {bad[0]!r}" if bad else "spaces at its ends"
        raise RecipeError(f"{tokens!r} cannot be part of a folder name ({why}).")
    return f"{repeats}_{tokens}"


@dataclass(frozen=True)
class ImageFacts:
    """Size is the raw header's, as kohya reads it: EXIF orientation is not applied."""

    path: Path
    width: int
    height: int
    caption_path: Path | None  # None: no caption file, so class tokens are used
    size_bytes: int
    mtime_ns: int
    caption: str = ""  # the text as kohya feeds it: first line of the file, or the class tokens
    frames: int = 0  # of a film; 0 is a picture
    fps: float = 0.0


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
class Stated:
    """What a recipe says of one folder: repeats, or the metadata file of kohya's fine-tuning."""

    repeats: int
    class_tokens: str
    metadata: Path | None = None
    separator: str = ","  # between a caption and its tags


@dataclass(frozen=True)
class DatasetFacts:
    """With a fault for every folder or file that kohya would drop silently."""

    root: Path
    subsets: tuple[SubsetFacts, ...]  # sorted by folder name; reg subsets after the others
    faults: tuple[Fault, ...] = ()

    @property
    def images(self) -> list[ImageFacts]:
        return [image for subset in self.subsets for image in subset.images]

    @property
    def trained(self) -> list[SubsetFacts]:
        """Without regularisation images."""
        return [subset for subset in self.subsets if not subset.is_reg]

    @property
    def image_count(self) -> int:
        return sum(len(subset.images) for subset in self.trained)


def is_image_name(name: str) -> bool:
    """Whether kohya's glob takes it: the five extensions, all lower or all upper."""
    return os.path.splitext(name)[1] in USED and not name.startswith(".")


def is_film_name(name: str) -> bool:
    return os.path.splitext(name)[1] in FILMS and not name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """What kohya's globs find, in its order."""
    return sorted((one for one in folder.iterdir() if is_image_name(one.name)), key=str)


def looks_like_image(name: str) -> bool:
    """Whether anybody would call it an image, whatever kohya thinks."""
    extension = os.path.splitext(name)[1].lower()
    return (extension in IMAGE_SUFFIXES or extension in OTHER_IMAGES) and not name.startswith(".")


def controls_of(
    pictures: Iterable[Path], folder: Path, *, numbered: bool
) -> dict[Path, list[Path]]:
    """What each picture is made from, in a folder of their own, by its stem; stem_0, stem_1 where
    there are several. As musubi-tuner finds them: long names first, so that fox_1 has its own, and
    fox the rest.
    """
    left = sorted(one for one in folder.iterdir() if is_image_name(one.name))
    found: dict[Path, list[Path]] = {}
    for picture in sorted(pictures, key=lambda one: len(one.name), reverse=True):
        stem = picture.stem
        own = [
            one
            for one in left
            if one.stem == stem or (numbered and one.name.startswith(f"{stem}_"))
        ]
        left = [one for one in left if one not in own]
        found[picture] = own
    return found


def unordered(picture: Path, own: list[Path]) -> bool:
    """Two of one name, or one with something else behind the picture's name than a number."""
    ends = [one.stem.removeprefix(picture.stem) for one in own]
    return len({*ends}) < len(ends) or not all(not end or end[1:].isdigit() for end in ends)
