"""The size and the true kind of an image from its first bytes, without decoding it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lorakit.pictures.open import RefusedError, TooLargeError, jpeg_size, opened, why

FIRST_READ = 4096  # one page: enough for all but JPEGs with a large EXIF block


@dataclass(frozen=True)
class PictureHeader:
    """`kind` is Pillow's name in lower case; `extended` is a WebP with a VP8X chunk."""

    kind: str
    width: int
    height: int
    extended: bool = False

    @property
    def as_kohya_reads(self) -> tuple[int, int]:
        """Imagesize 1.4.1, which kohya asks, forgets that VP8X stores each side minus one."""
        if self.extended and self.width > 1:
            return self.width - 1, self.height - 1
        return self.width, self.height


class CutError(RefusedError):
    """The header is sound, but the picture behind it is not."""


def read_header(path: Path | str) -> PictureHeader:
    """Raw size as stored: EXIF orientation is not applied, as kohya does not apply it."""
    # a pipe would wait for ever
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RefusedError("not a file")
        head = os.read(handle, FIRST_READ)
        header = _known(handle, head)
        if header is not None and _looks_cut(handle, header.kind, head):
            _decode(path)
    finally:
        os.close(handle)
    header = header or _by_pillow(path)
    if header.width < 1 or header.height < 1:
        raise RefusedError(f"its header says {header.width}x{header.height}")
    return header


def _looks_cut(handle: int, kind: str, head: bytes) -> bool:
    """A copy that stopped half-way has no end. Cheap, so it only raises a suspicion."""
    size = os.fstat(handle).st_size
    if kind == "webp":
        return size < 8 + int.from_bytes(head[4:8], "little")
    end = {"png": b"IEND", "jpeg": b"\xff\xd9"}.get(kind, b"")
    return end not in os.pread(handle, 16, max(0, size - 16))


def _decode(path: Path | str) -> None:
    """To be certain: data may follow a picture, and Pillow forgives a missing end mark."""
    try:
        with opened(path) as picture:
            picture.load()
    except TooLargeError:
        return  # that is another fault
    except (OSError, SyntaxError, ValueError) as error:
        raise CutError(str(error).rstrip(".")) from error


def _known(handle: int, head: bytes) -> PictureHeader | None:
    if not head:
        raise RefusedError("the file is empty")
    if head.startswith(b"\xff\xd8"):
        try:
            found = jpeg_size(handle, head)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        return found and PictureHeader("jpeg", *found)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        wide, high = (int.from_bytes(head[i : i + 4], "big") for i in (16, 20))
        return PictureHeader("png", wide, high)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    return None


def _webp(head: bytes) -> PictureHeader | None:
    kind, body = head[12:16], head[20:30]
    if len(body) < 10:
        raise RefusedError("a WebP that ends before its size")
    if kind == b"VP8X":
        wide, high = (1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
        return PictureHeader("webp", wide, high, extended=True)
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return PictureHeader("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        wide, high = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        return PictureHeader("webp", wide, high)
    return None


def _by_pillow(path: Path | str) -> PictureHeader:
    """Everything else: TIFF, AVIF, BMP."""
    try:
        with opened(path) as image:
            return PictureHeader((image.format or "unknown").lower(), *image.size)
    except Exception as error:  # noqa: BLE001  (Pillow raises whatever a broken header makes its plugins raise)
        raise RefusedError(why(error)) from None
