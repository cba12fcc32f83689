"""The contact sheet: every prepared image as its original was, with the part that is kept, its
size, and its caption.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError
from lorakit.dataset.build.fonts import font_for
from lorakit.dataset.build.manifest import FOLDER, MadeFile, Manifest
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.rules import shown
from lorakit.files import write_atomic
from lorakit.user_files import Unreadable

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

COLUMNS, ROWS = 5, 5
NAME, WORDS = 14, 13  # sizes of letters
CELL, PAD, TEXT = 288, 16, 96  # picture, gap, room for words; pixels
INK, FAINT, MARK, PAPER = "#1c1c1c", "#6a6a6a", "#e0452c", "#fafafa"


@dataclass(frozen=True)
class _Sheet:
    """What every cell needs."""

    root: Path
    chooser: Chooser | None
    suffix: str  # of captions


def write_sheets(
    root: Path, rules: BucketRules | None, caption_extension: str = ".txt"
) -> list[Path]:
    """Pages of twenty-five under .lorakit/; pages of an earlier, longer sheet are removed."""
    entries = [e for _, e in sorted(Manifest(root).entries.items()) if (root / e.file).exists()]
    sheet = _Sheet(root, Chooser(rules) if rules else None, caption_extension)
    per_page = COLUMNS * ROWS
    pages = []
    for number in range(0, len(entries), per_page):
        path = root / FOLDER / f"sheet-{number // per_page + 1:02}.jpg"
        write_atomic(path, _page(sheet, entries[number : number + per_page]))
        pages.append(path)
    for old in set((root / FOLDER).glob("sheet-*.jpg")) - set(pages):
        old.unlink()
    return pages


def redraw_sheets(root: Path, rules: BucketRules | None, caption_extension: str) -> None:
    """Where there is a sheet, so that it shows what is there now."""
    if any((root / FOLDER).glob("sheet-*.jpg")):
        write_sheets(root, rules, caption_extension)


def _page(sheet: _Sheet, entries: Sequence[MadeFile]) -> bytes:
    from PIL import Image, ImageDraw

    rows = -(-len(entries) // COLUMNS)
    across, down = CELL + PAD, CELL + TEXT + PAD
    page = Image.new("RGB", (PAD + COLUMNS * across, PAD + rows * down), PAPER)
    pen = ImageDraw.Draw(page)
    for index, entry in enumerate(entries):
        left, top = PAD + index % COLUMNS * across, PAD + index // COLUMNS * down
        _picture(sheet, pen, page, entry, (left, top))
        _words(sheet, pen, entry, (left, top + CELL + 6))
    buffer = BytesIO()
    page.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _picture(
    sheet: _Sheet,
    pen: ImageDraw.ImageDraw,
    page: Image.Image,
    entry: MadeFile,
    place: tuple[int, int],
) -> None:
    """The upright original; what is cut off is dimmed, what is kept is framed."""
    from PIL import Image

    scale = CELL / max(entry.size)
    size = (max(1, round(entry.size[0] * scale)), max(1, round(entry.size[1] * scale)))
    x, y = (start + (CELL - side) // 2 for start, side in zip(place, size, strict=True))
    thumb = sheet.root / FOLDER / "thumbs" / f"{entry.source_sha[:24]}.jpg"
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


def _words(
    sheet: _Sheet, pen: ImageDraw.ImageDraw, entry: MadeFile, place: tuple[int, int]
) -> None:
    left, top = place

    def write(line: str, down: int, colour: str, size: int = WORDS) -> None:
        font = font_for(line, size)
        while line and pen.textlength(line, font=font) > CELL:
            line = line[:-1]
        pen.text((left, top + down), line, fill=colour, font=font)

    write(shown(Path(entry.file).name), 0, INK, NAME)
    sizes = " to ".join(f"{wide}x{high}" for wide, high in (entry.size, entry.canvas))
    write(sizes + _bucket(entry, sheet.chooser), 18, MARK)
    try:
        words = read_words((sheet.root / entry.file).with_suffix(sheet.suffix))
        caption = words.text.strip() or "(empty caption)" if words else "(no caption)"
    except Unreadable as error:
        caption = f"(the caption {error.why})"
    lines = textwrap.wrap(caption, 44) or [""]
    if len(lines) > 3:
        lines = [*lines[:2], f"{lines[2][:41]}..."]
    for number, line in enumerate(lines):
        write(line, 36 + 17 * number, FAINT if line.startswith("(") else INK)


def _bucket(entry: MadeFile, chooser: Chooser | None) -> str:
    if chooser is None:
        return ""
    try:
        wide, high = chooser.choose(*entry.canvas).bucket
    except UnfitError:
        return ", no bucket"
    return f", bucket {wide}x{high}"
