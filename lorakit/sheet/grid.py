"""Drawing a sheet: prompts down the side, checkpoints and strengths along the top."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from lorakit.errors import RecipeError
from lorakit.pictures.open import opened, why

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PAPER, INK, FAINT, RULE, MISSING = "#ffffff", "#1b1b1f", "#6a6a73", "#dcdce2", "#f0f0f3"
MARGIN, GAP, LABEL = 24, 4, 220
LETTERS = 28  # of a prompt in a line


@dataclass(frozen=True)
class Column:
    """The base, or one checkpoint at one strength; other LoRAs may lie under it."""

    label: str
    lora: Path | None = None
    strength: float = 0.0
    note: str | None = None  # below the label, instead of the strength
    others: tuple[tuple[Path, float], ...] = ()

    @property
    def under(self) -> str:
        if self.note is None:
            return f"strength {self.strength:g}" if self.lora else "no LoRA"
        return self.note

    @property
    def worn(self) -> tuple[tuple[Path, float], ...]:
        """The LoRAs in their order."""
        return (*self.others, (self.lora, self.strength)) if self.lora else self.others


@dataclass(frozen=True)
class Sheet:
    """A grid ready to be drawn; `pictures` has the files, one per seed, of each row and column."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    pictures: Mapping[tuple[int, int], tuple[Path, ...]]  # (row, column)
    footer: str = ""


def draw_grid(sheet: Sheet) -> Image.Image:
    title, plain, small = (ImageFont.load_default(points) for points in (24, 16, 14))
    width, height = _picture_size(sheet)
    seeds = max((len(files) for files in sheet.pictures.values()), default=1)
    cell, line = seeds * (width + GAP) + 3 * GAP, height + 3 * GAP
    left, top = MARGIN + LABEL, MARGIN + 92
    bottom = top + len(sheet.rows) * line
    whole = (left + len(sheet.columns) * cell + MARGIN, bottom + MARGIN + 34)
    page = Image.new("RGB", whole, PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), sheet.title, fill=INK, font=title)
    x = left
    for label, group in groupby(sheet.columns, key=lambda column: column.label):
        columns = list(group)  # a checkpoint's name once, over all its strengths
        if x > left:
            pen.line((x - 2 * GAP, top - 50, x - 2 * GAP, bottom - 2 * GAP), fill=RULE)
        name = shortened(label, len(columns) * cell - 2 * GAP, plain)
        pen.text((x, top - 50), name, fill=INK, font=plain)
        for column in columns:
            pen.text((x, top - 28), column.under, fill=FAINT, font=small)
            x += cell
    for row, prompt in enumerate(sheet.rows):
        y = top + row * line
        pen.line((MARGIN, y - 2 * GAP, page.width - MARGIN, y - 2 * GAP), fill=RULE)
        words = textwrap.wrap(prompt, LETTERS, max_lines=max(1, height // 18), placeholder="…")
        for number, text in enumerate(words):
            text_shown = shortened(text, LABEL - 2 * GAP, small)
            pen.text((MARGIN, y + 18 * number), text_shown, fill=INK, font=small)
        for at in range(len(sheet.columns)):
            files = sheet.pictures.get((row, at), ())
            for place in range(seeds):
                x = left + at * cell + place * (width + GAP)
                if place < len(files) and files[place].is_file():
                    # complete, never cropped: edges are where overfitting shows
                    picture, size = picture_of(files[place]), (width, height)
                    fitted = ImageOps.pad(picture, size, Image.Resampling.LANCZOS, MISSING)
                    page.paste(fitted, (x, y))
                else:
                    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=MISSING)
    pen.text((MARGIN, page.height - MARGIN - 14), sheet.footer, fill=FAINT, font=small)
    return page


def _picture_size(sheet: Sheet) -> tuple[int, int]:
    """The size all pictures get: the first one's, its longer side at least 96 and at most 320."""
    there = (file for files in sheet.pictures.values() for file in files if file.is_file())
    for file in there:
        picture = picture_of(file)
        longest = max(picture.size)
        scale = min(320, max(96, longest)) / longest
        return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return 96, 96


def picture_of(file: Path) -> Image.Image:
    """By the one door to Pillow; what it refuses is an error with the file's name."""
    try:
        with opened(file) as picture:
            return picture.convert("RGB")
    except Exception as error:  # a broken file makes decoders raise anything
        hint = "One that lorakit drew may be removed; it is drawn again."
        raise RecipeError(f"{file}: cannot be decoded ({why(error)}).", hint=hint) from error


def shortened(text: str, width: float, font: Font) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
