"""The contact sheet: every original, what is kept of it, its sizes and its caption."""

import textwrap
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lorakit.dataset.buckets import Chooser
from lorakit.dataset.build.manifest import FOLDER, MadeFile, Manifest
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.rules import shown
from lorakit.files import write_atomic
from lorakit.pictures.open import encoded
from lorakit.user_files import Unreadable

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLUMNS, ROWS = 5, 5
NAME, WORDS = 14, 13  # sizes of letters
CELL, PAD, TEXT = 288, 16, 96  # picture, gap, room for words; pixels
# By file name, as Linux, macOS and Windows have them; Pillow knows where they are.
FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc"),
    *("DroidSansFallback.ttf", "DroidSansFallbackFull.ttf", "Arial Unicode.ttf", "Arial.ttf"),
    *("arial.ttf", "msyh.ttc", "malgun.ttf", "msgothic.ttc"),
)
NO_LETTER = "\U0010ffff"
INK, FAINT, MARK, PAPER = "#1c1c1c", "#6a6a6a", "#e0452c", "#fafafa"


def write_sheets(root: Path, chooser: Chooser | None, caption_extension: str) -> list[Path]:
    """Pages of twenty-five under .lorakit/; pages of an earlier, longer sheet are removed."""
    entries = [e for _, e in sorted(Manifest(root).entries.items()) if (root / e.file).exists()]
    pages = []
    for number in range(0, len(entries), COLUMNS * ROWS):
        some = entries[number : number + COLUMNS * ROWS]
        path = root / FOLDER / f"sheet-{number // (COLUMNS * ROWS) + 1:02}.jpg"
        cells = [(one, _lines(root / one.file, one, chooser, caption_extension)) for one in some]
        write_atomic(path, _page(root, cells))
        pages.append(path)
    for old in set((root / FOLDER).glob("sheet-*.jpg")) - set(pages):
        old.unlink()
    return pages


def redraw_sheets(root: Path, chooser: Chooser | None, caption_extension: str) -> None:
    """Where there is a sheet, so that it shows what is there now."""
    if any((root / FOLDER).glob("sheet-*.jpg")):
        write_sheets(root, chooser, caption_extension)


def _page(root: Path, cells: Sequence[tuple[MadeFile, list[str]]]) -> bytes:
    rows = -(-len(cells) // COLUMNS)
    across, down = CELL + PAD, CELL + TEXT + PAD
    page = Image.new("RGB", (PAD + COLUMNS * across, PAD + rows * down), PAPER)
    pen = ImageDraw.Draw(page)
    for index, (entry, lines) in enumerate(cells):
        left, top = PAD + index % COLUMNS * across, PAD + index // COLUMNS * down
        thumb = root / FOLDER / "thumbs" / f"{entry.source_sha[:24]}.jpg"
        _picture(pen, page, entry, thumb, (left, top))
        _words(pen, lines, (left, top + CELL + 6))
    return encoded(page, "JPEG", quality=88)


def _picture(
    pen: ImageDraw.ImageDraw,
    page: Image.Image,
    entry: MadeFile,
    thumb: Path,
    place: tuple[int, int],
) -> None:
    """The upright original; what is cut off is dimmed, what is kept is framed."""
    scale = CELL / max(entry.size)
    size = (max(1, round(entry.size[0] * scale)), max(1, round(entry.size[1] * scale)))
    x, y = (start + (CELL - side) // 2 for start, side in zip(place, size, strict=True))
    try:
        with Image.open(thumb) as opened:
            picture = opened.convert("RGB").resize(size)
    except OSError:
        picture = Image.new("RGB", size, "#dddddd")
    left, top, right, bottom = (round(edge * scale) for edge in entry.box)
    # a very wide picture is one pixel high here
    box = (left, top, max(left + 1, right), max(top + 1, bottom))
    kept = picture.crop(box)
    page.paste(picture.point(lambda value: 170 + value // 3), (x, y))
    page.paste(kept, (x + box[0], y + box[1]))
    pen.rectangle([x + box[0], y + box[1], x + box[2] - 1, y + box[3] - 1], outline=MARK, width=2)


def _words(pen: ImageDraw.ImageDraw, lines: Sequence[str], place: tuple[int, int]) -> None:
    """The file's name, its sizes, its caption."""
    left, top = place
    for number, line in enumerate(lines):
        font = font_for(line, WORDS if number else NAME)
        while line and pen.textlength(line, font=font) > CELL:
            line = line[:-1]  # noqa: PLW2901
        colour = MARK if number == 1 else FAINT if number and line.startswith("(") else INK
        pen.text((left, top + 18 * number), line, fill=colour, font=font)


def _lines(path: Path, entry: MadeFile, chooser: Chooser | None, suffix: str) -> list[str]:
    sizes = " to ".join(f"{wide}x{high}" for wide, high in (entry.size, entry.canvas))
    place = chooser.place(*entry.canvas) if chooser else None
    if chooser:
        sizes += f", bucket {place.bucket[0]}x{place.bucket[1]}" if place else ", no bucket"
    try:
        words = read_words(path.with_suffix(suffix))
        caption = words.text.strip() or "(empty caption)" if words else "(no caption)"
    except Unreadable as error:
        caption = f"(the caption {error.why})"
    return [shown(path.name), sizes, *textwrap.wrap(caption, 44, max_lines=3, placeholder="...")]


def font_for(text: str, size: int) -> Font:
    """Pillow's own, or else the first of this machine's that has all letters, or else the most."""
    letters = {one for one in text if not one.isascii() and one.isprintable()}
    return max(
        _fonts(size),
        key=lambda font: sum(_drawn(font, one) != _drawn(font, NO_LETTER) for one in letters),
    )


@cache
def _fonts(size: int) -> list[Font]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in FONTS:
        with suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found


@cache
def _drawn(font: Font, letter: str) -> bytes:
    page = Image.new("L", (48, 48))
    ImageDraw.Draw(page).text((8, 8), letter, fill=255, font=font)
    return page.tobytes()
