"""A font that has the letters: Pillow's own for Latin, else the first of this machine's that can
write a text, else the one that can write most of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# By file name, as Linux, macOS and Windows have them; Pillow knows where they are.
NAMES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc"),
    *("DroidSansFallback.ttf", "DroidSansFallbackFull.ttf", "Arial Unicode.ttf", "Arial.ttf"),
    *("arial.ttf", "msyh.ttc", "malgun.ttf", "msgothic.ttc"),
)
NO_LETTER = "\U0010ffff"


def font_for(text: str, size: int) -> Font:
    letters = "".join(sorted({one for one in text if not one.isascii() and one.isprintable()}))
    return _font_with(letters, size)


@cache
def _font_with(letters: str, size: int) -> Font:
    best: Font | None = None
    most = -1
    for font in _fonts(size):
        empty = _drawn(font, NO_LETTER)
        has = sum(_drawn(font, letter) != empty for letter in letters)
        if has == len(letters):
            return font
        if has > most:
            best, most = font, has
    assert best is not None  # Pillow's own is always there
    return best


def _fonts(size: int) -> Iterator[Font]:
    from PIL import ImageFont

    yield ImageFont.load_default(size)
    for name in NAMES:
        with suppress(OSError):
            yield ImageFont.truetype(name, size)


def _drawn(font: Font, letter: str) -> bytes:
    from PIL import Image, ImageDraw

    page = Image.new("L", (48, 48))
    ImageDraw.Draw(page).text((8, 8), letter, fill=255, font=font)
    return page.tobytes()
