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
from lorakit.dataset.build.manifest import FOLDER, Entry, Manifest
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.rules import shown
from lorakit.files import write_atomic

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 5, 5
CELL, PAD, TEXT = 288, 16, 96  # picture, gap, room for words; pixels
INK, FAINT, MARK, PAPER = "#1c1c1c", "#6a6a6a", "#e0452c", "#fafafa"


@dataclass(frozen=True)
class _Sheet:
    """What every cell needs."""

    root: Path
    chooser: Chooser | None
    suffix: str  # of captions
    bold: ImageFont.FreeTypeFont | ImageFont.ImageFont
    small: ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheets(
    root: Path, rules: BucketRules | None, caption_extension: str = ".txt"
) -> list[Path]:
    """Pages of twenty-five under .lorakit/; pages of an earlier, longer sheet are removed."""
    entries = [
        entry for _, entry in sorted(Manifest(root).entries.items()) if (root / entry.file).exists()
    ]
    from PIL import ImageFont

    sheet = _Sheet(
        root,
        Chooser(rules) if rules else None,
        caption_extension,
        ImageFont.load_default(14),
        ImageFont.load_default(13),
    )
    per_page = COLUMNS * ROWS
    pages = []
    for number in range(0, len(entries), per_page):
        path = root / FOLDER / f"sheet-{number // per_page + 1:02}.jpg"
        write_atomic(path, _page(sheet, entries[number : number + per_page]))
        pages.append(path)
    for old in (root / FOLDER).glob("sheet-*.jpg"):
        if old not in pages:
            old.unlink()
    return pages


def _page(sheet: _Sheet, entries: Sequence[Entry]) -> bytes:
    from PIL import Image, ImageDraw

    rows = -(-len(entries) // COLUMNS)
    page = Image.new("RGB", (PAD + COLUMNS * (CELL + PAD), PAD + rows * (CELL + TEXT + PAD)), PAPER)
    pen = ImageDraw.Draw(page)
    for index, entry in enumerate(entries):
        left, top = (
            PAD + index % COLUMNS * (CELL + PAD),
            PAD + index // COLUMNS * (CELL + TEXT + PAD),
        )
        _picture(sheet, pen, page, entry, (left, top))
        _words(sheet, pen, entry, (left, top + CELL + 6))
    buffer = BytesIO()
    page.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _picture(
    sheet: _Sheet, pen: ImageDraw.ImageDraw, page: Image.Image, entry: Entry, place: tuple[int, int]
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


def _words(sheet: _Sheet, pen: ImageDraw.ImageDraw, entry: Entry, place: tuple[int, int]) -> None:
    left, top = place
    pen.text(
        (left, top),
        _fitting(pen, shown(Path(entry.file).name), sheet.bold),
        fill=INK,
        font=sheet.bold,
    )
    sizes = f"{entry.size[0]}x{entry.size[1]} to {entry.canvas[0]}x{entry.canvas[1]}{_bucket(entry, sheet.chooser)}"
    pen.text((left, top + 18), sizes, fill=MARK, font=sheet.small)
    words = read_words((sheet.root / entry.file).with_suffix(sheet.suffix))
    caption = words.text.strip() or "(empty caption)" if words else "(no caption)"
    lines = textwrap.wrap(caption, 44) or [""]
    if len(lines) > 3:
        lines = [*lines[:2], f"{lines[2][:41]}..."]
    for number, line in enumerate(lines):
        pen.text(
            (left, top + 36 + 17 * number),
            _fitting(pen, line, sheet.small),
            fill=FAINT if line.startswith("(") else INK,
            font=sheet.small,
        )


def _fitting(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    while text and pen.textlength(text, font=font) > CELL:
        text = text[:-1]
    return text


def _bucket(entry: Entry, chooser: Chooser | None) -> str:
    if chooser is None:
        return ""
    try:
        wide, high = chooser.choose(*entry.canvas).bucket
    except UnfitError:
        return ", no bucket"
    return f", bucket {wide}x{high}"
