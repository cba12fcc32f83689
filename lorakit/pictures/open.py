"""The one door to Pillow for other people's pictures: which kinds are opened, how large they
may be, and what a broken one says.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# No EPS: Pillow hands it to Ghostscript, and a photo must not be a program. Nothing else here
# starts one.
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "PCX", "PSD", "ICO", "TGA")
HEIC = frozenset(b"heic heix heim heis hevc hevx mif1 msf1".split())  # brands of the container
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
MAX_PIXELS = (
    128_000_000  # 400 MB decoded; a JPEG is decoded smaller and may have four times as many
)


class RefusedError(ValueError):
    """Why a picture cannot be used, in words."""


class TooLargeError(RefusedError):
    """Decoding it could take all memory."""


@cache
def kinds() -> tuple[str, ...]:
    return (*KINDS, "AVIF") if find_spec("PIL.AvifImagePlugin") else KINDS  # from Pillow 11.3 on


@contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """The picture, not yet decoded. A pipe is not waited for, and what is too large is refused."""
    from PIL import Image, UnidentifiedImageError

    if Path(path).exists() and not Path(path).is_file():
        raise RefusedError("not a file")
    with warnings.catch_warnings(), _unlimited():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=kinds())
        except UnidentifiedImageError:
            with Path(path).open("rb") as file:
                head = file.read(12)
            heic = head[4:8] == b"ftyp" and head[8:] in HEIC
            raise RefusedError(
                "a HEIC photo, whatever its name says; export it as JPEG"
                if heic
                else "not a picture of any kind that lorakit reads"
            ) from None
        with image:
            limit = MAX_PIXELS * (4 if image.format in {"JPEG", "MPO"} else 1)
            pixels = image.width * image.height
            if pixels > limit:
                raise TooLargeError(
                    f"{image.width}x{image.height} would take {pixels * 3 / 1e9:.1f} GB to decode "
                    f"(limit {limit // 10**6} megapixels)"
                )
            yield image


def orientation(image: Image.Image) -> tuple[int, bool]:
    """What EXIF says, 1 being upright; and whether it cannot be read, when every viewer takes the
    picture as upright.
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  (broken EXIF raises struct errors, SyntaxError, ...)
        return 1, True
    if isinstance(value, int) and 1 <= value <= 8:
        return int(value), False
    return 1, value not in {None, 0}


def turned(image: Image.Image, number: int) -> Image.Image:
    """Upright, given its EXIF orientation."""
    from PIL import Image as Pillow

    return image.transpose(getattr(Pillow.Transpose, TURNS[number])) if number in TURNS else image


def why(error: Exception) -> str:
    """What a decoder meant. Broken files make them raise anything."""
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = isinstance(error, (OSError, RefusedError))
    return str(error) if known else f"{type(error).__name__}: {error}"


@contextmanager
def _unlimited() -> Iterator[None]:
    """Pillow's own limit on pixels off: ours says more when it refuses."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
