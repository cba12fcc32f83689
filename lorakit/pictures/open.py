"""The one door to Pillow: which kinds are opened, how large, what a broken one says, and how a PNG
is written.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorakit.config import cache_dir
from lorakit.errors import counted
from lorakit.files import write_atomic

if TYPE_CHECKING:
    from PIL import Image

# No EPS: Pillow hands it to Ghostscript, and a photo must not be a program. Nothing else here
# starts one.
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "PCX", "PSD", "ICO", "TGA")
HEIC = frozenset(b"heic heix heim heis hevc hevx mif1 msf1".split())  # brands of the container
HEIC_REFUSED = (
    'a HEIC photo, whatever its name says; export it as JPEG, or: pip install "lorakit[heic]"'
)
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
MAX_PIXELS = 64_000_000  # 256 MB decoded: Pillow takes four bytes for a pixel of three colours
JPEG_TIMES = 8  # a JPEG is decoded smaller, line by line
BIG = 128_000_000  # bytes; what takes more is decoded by one process at a time
MOST_MARKERS = 10_000
READ = 1 << 16
MOST_FILL = 1 << 20
SHORT_JPEG = "a JPEG that ends before its size"
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


class EndlessError(ValueError):
    """Looking for the size any further would only cost time."""


def jpeg_size(handle: int, head: bytes) -> tuple[int, int] | None:
    """ValueError says what is wrong; None where only a more forgiving reader can tell."""
    at = 2
    for _ in range(MOST_MARKERS):
        chunk = head[at : at + 10] if at + 10 <= len(head) else os.pread(handle, 10, at)
        if len(chunk) < 4:
            raise ValueError(SHORT_JPEG)
        if chunk[0] != 0xFF:  # stray bytes between markers: Pillow knows how to look further
            _past(handle, at, b"\0")
            return None
        marker = chunk[1]
        if marker == 0xFF:  # fill bytes; the last one begins a marker
            at = _past(handle, at, b"\xff") - 1
        elif marker in BARE:
            at += 2
        elif marker in SOF:
            if len(chunk) < 9:
                raise ValueError(SHORT_JPEG)
            wide, high = (int.from_bytes(chunk[i : i + 2], "big") for i in (7, 5))
            return wide, high
        else:
            at += 2 + int.from_bytes(chunk[2:4], "big")
    raise EndlessError(f"a JPEG without a size in its first {MOST_MARKERS} markers")


def _past(handle: int, at: int, fill: bytes) -> int:
    """Where a row of the same byte ends."""
    for _ in range(MOST_FILL // READ):
        block = os.pread(handle, READ, at)
        rest = block.lstrip(fill)
        at += len(block) - len(rest)
        if rest or not block:
            return at
    raise EndlessError(f"a JPEG with more than {MOST_FILL} bytes of filling")


class RefusedError(ValueError):
    """Why a picture cannot be used, in words."""


class TooLargeError(RefusedError):
    """Decoding it could take all memory."""


@cache
def kinds() -> tuple[str, ...]:
    return (*KINDS, "AVIF") if find_spec("PIL.AvifImagePlugin") else KINDS  # from Pillow 11.3 on


@contextmanager
def opened(path: Path | str) -> "Iterator[Image.Image]":
    """The picture, not yet decoded. A pipe is not waited for, and what is too large is refused."""
    from PIL import Image, UnidentifiedImageError

    if not stat.S_ISREG(os.stat(path).st_mode):
        raise RefusedError("not a file")
    heic = _not_endless(path)
    Image.MAX_IMAGE_PIXELS = None  # our own limit says more when it refuses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=("HEIF",) if heic and reads_heic() else kinds())
        except UnidentifiedImageError:
            what = "not a picture of any kind that lorakit reads"
            if heic:
                what = "a HEIC photo that is broken" if reads_heic() else HEIC_REFUSED
            raise RefusedError(what) from None
        with image, _room(image, bytes_needed(image)):
            if heic and (count := getattr(image, "n_frames", 1)) > 1:
                held = counted(count, "picture")
                raise RefusedError(f"a HEIC with {held}; export the one you want as JPEG")
            yield image


@contextmanager
def decoded(image: "Image.Image") -> Iterator[None]:
    """At the size that draft() has left: a JPEG in full needs more than its header says."""
    with _room(image, image.width * image.height * 4):
        image.load()
        yield


@contextmanager
def _room(image: "Image.Image", need: int) -> Iterator[None]:
    limit = MAX_PIXELS * 4
    if need > limit:
        raise TooLargeError(
            f"{image.width}x{image.height} would take {need / 1e9:.1f} GB to decode "
            f"(limit {limit / 1e9:.2f} GB)"
        )
    with _alone() if need > BIG else nullcontext():
        yield


def bytes_needed(image: "Image.Image") -> int:
    """To decode it once, known from its header alone."""
    pixels: int = image.width * image.height
    if image.format not in {"JPEG", "MPO"}:
        return pixels * 4
    if not (image.info.get("progressive") or image.info.get("progression")):
        return pixels * 4 // JPEG_TIMES
    # all coefficients are kept, two bytes each, of every part as densely as it is sampled
    parts: list[tuple[int, int]]
    parts = [(wide, high) for _, wide, high, _ in getattr(image, "layer", [])] or [(1, 1)] * 3
    densest = max(wide for wide, _ in parts) * max(high for _, high in parts)
    return pixels * 2 * sum(wide * high for wide, high in parts) // densest


@cache
def reads_heic() -> bool:
    """Whether what opens an iPhone's photos is installed, from now on in Pillow, too."""
    if not find_spec("pillow_heif"):
        return False
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return True


def _not_endless(path: Path | str) -> bool:
    """Pillow would look for a JPEG's size for ever. Says whether the file is a HEIC."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(1 << 12)
        if head.startswith(b"\xff\xd8"):
            try:
                jpeg_size(file.fileno(), head)
            except EndlessError as error:
                raise RefusedError(str(error)) from None
            except ValueError:
                pass  # Pillow says what is wrong
    return head[4:8] == b"ftyp" and head[8:12] in HEIC


@contextmanager
def _alone() -> Iterator[None]:
    """Of the big pictures one at a time, among all of the user's processes."""
    from filelock import FileLock

    place = cache_dir() / "big-picture.lock"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place, is_singleton=True).acquire()  # a second look is no second turn
    except OSError:  # no place for a lock: then without
        yield
        return
    with lock:
        yield


def small_picture(path: Path, side: int, *, upright: bool = False) -> "Image.Image":
    """In RGB. As a trainer sees it: EXIF orientation is not applied unless `upright`."""
    with opened(path) as image:
        image.draft("RGB", (side, side))
        turn = orientation(image)[0] if upright else 1
        picture = turned(image.convert("RGB"), turn)
    picture.thumbnail((side, side), reducing_gap=2.0)
    return picture


def write_png(path: Path, image: "Image.Image") -> None:
    write_atomic(path, encoded(image, "PNG"))


def encoded(image: "Image.Image", kind: str, **how: Any) -> bytes:
    data = BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


def orientation(image: "Image.Image") -> tuple[int, bool]:
    """What EXIF says, 1 being upright; and whether it cannot be read, which is upright, too."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001  (broken EXIF raises struct errors, SyntaxError, ...)
        return 1, True
    if isinstance(value, int) and 1 <= value <= 8:
        return int(value), False
    return 1, value not in {None, 0}


def turned(image: "Image.Image", number: int) -> "Image.Image":
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
