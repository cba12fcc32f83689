"""What drawn pictures say without a further model: what moved, sameness over seeds, copies.

Every cell draws some prompts with the trigger and some without, in few steps, each at the base's
own noise. Distances are root mean squares of sixteen by sixteen pixels; 1 is as far as two seeds of
the base are apart. What this may decide, and what was proven of it: docs/judge.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lorakit.errors import RecipeError
from lorakit.judge.score import BROKEN, LISTED, name
from lorakit.pictures.open import opened, why
from lorakit.runs.record import Judged, JudgedCell, PictureFacts
from lorakit.sheet.grid import Column, Sheet
from lorakit.sheet.make import Order, lay_out
from lorakit.sheet.source import SheetRow, Source

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Key = tuple[str, float]  # a cell's file name and strength; the base's is BASE
BASE: Key = ("", 0.0)
SIDE = 16
ASKED, SEEDS, OTHERS, STEPS = 4, 3, 8, 8  # prompts with the trigger, their seeds, prompts without
MOST_LISTED = 6
PICTURED = "pictured"


@dataclass(frozen=True)
class Viewing:
    """The pictures of the base and of cells, drawn or not yet."""

    asked: Sheet
    others: Sheet
    order: Order
    trained: tuple[Path, ...]

    def files(self, at: int) -> list[Path]:
        """Of a column, in the order of prompts and seeds."""
        sheets = (self.asked, self.others)
        return [
            file
            for sheet in sheets
            for row in range(len(sheet.rows))
            for file in sheet.pictures[row, at]
        ]

    @property
    def there(self) -> dict[Key, int]:
        """The columns whose pictures are all drawn."""
        return {
            (column.lora.name, column.strength) if column.lora else BASE: at
            for at, column in enumerate(self.asked.columns)
            if all(file.exists() for file in self.files(at))
        }

    def of(self, keys: Sequence[Key]) -> Order:
        """The order for the base and these."""
        cells = zip(self.asked.columns, self.order["columns"], strict=True)
        wanted = [told for c, told in cells if not c.lora or (c.lora.name, c.strength) in keys]
        return {**self.order, "columns": wanted}


def view(
    source: Source,
    cells: Sequence[tuple[str, Path, float]],
    asked: Sequence[str],
    others: Sequence[str],
    trained: Sequence[Path],
) -> Viewing:
    """Laid out as a sheet is, among whose pictures they are kept; `cells` are label, file,
    strength.
    """
    columns = (Column("base"), *(Column(*cell) for cell in cells))
    row = source.rows[0] if source.rows else source.plain
    row = replace(row, steps=min(row.steps, STEPS))

    def rows(prompts: Sequence[str]) -> list[SheetRow]:
        return [replace(row, prompt=prompt) for prompt in prompts]

    folder = source.run_dir / "sheet"
    first, order = lay_out(source, columns, rows(asked), SEEDS, folder)
    second, more = lay_out(source, columns, rows(others), 1, folder)
    for mine, also in zip(order["columns"], more["columns"], strict=True):
        mine["pictures"] += also["pictures"]
    return Viewing(first, second, order, tuple(trained))


def seen(viewing: Viewing) -> dict[Key, PictureFacts]:
    """Of the base and of every cell whose pictures are there; none without the base's."""
    there = viewing.there
    if BASE not in there:
        return {}
    trained = np.stack([small(file) for file in viewing.trained])
    limit = _copy_limit(trained)
    bases = _drawn(viewing, there[BASE])
    scale = max(_variety(bases[0]), 1e-6)
    found = {}
    for key, at in there.items():
        asked, others = _drawn(viewing, at)
        near = _apart(asked.reshape(-1, 1, SIDE, SIDE, 3), trained)
        found[key] = PictureFacts(
            asked=_shown(_apart(asked, bases[0]).mean() / scale),
            others=_shown(_apart(others, bases[1]).mean() / scale),
            variety=_shown(_variety(asked) / scale),
            nearest=_shown(near.min() / scale),
            nearest_to=viewing.trained[int(near.min(axis=0).argmin())].name,
            copies=int((near.min(axis=1) < limit).sum()),
        )
    return found


def with_pictures(found: Judged, facts: Mapping[Key, PictureFacts]) -> Judged:
    """The list filled up with the cells whose prompts with the trigger move most against the
    others.
    """
    base, notes = facts.get(BASE), found.notes
    if base is None:
        return found
    cells = [replace(one, seen=facts.get((one.checkpoint, one.strength))) for one in found.cells]
    able = [one for one in cells if one.seen and one.verdict not in {LISTED, BROKEN}]
    most = sorted(able, key=_moved, reverse=True)[: max(0, MOST_LISTED - len(found.listed))]
    rest = [one for one in cells if one.verdict != LISTED and one not in most]
    listed = [one for one in cells if one.verdict == LISTED]
    chosen = [replace(one, verdict=PICTURED) for one in most]
    copied = [one for one in (*listed, *chosen) if one.seen and one.seen.copies > base.copies]
    if copied:
        said = ", ".join(f"{name(one)} ({_copies(one)})" for one in copied)
        notes += (f"Pictures that nearly are one it was trained on: {said}.",)
    return replace(found, cells=(*listed, *chosen, *rest), base=base, notes=notes)


def _copies(cell: JudgedCell) -> str:
    return f"{cell.seen.copies}, the nearest to {cell.seen.nearest_to}" if cell.seen else ""


def _moved(cell: JudgedCell) -> float:
    return cell.seen.asked - cell.seen.others if cell.seen else 0.0


def small(file: Path) -> Pixels:
    """The middle square, at the size that distances are measured at."""
    try:
        with opened(file) as picture:
            picture.draft("RGB", (8 * SIDE, 8 * SIDE))
            shrunk = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BOX)
    except Exception as error:  # a broken file makes decoders raise anything
        hint = "One that lorakit drew may be removed; it is drawn again."
        raise RecipeError(f"{file}: cannot be decoded ({why(error)}).", hint=hint) from error
    return np.asarray(shrunk, dtype=np.float32) / 255


def _drawn(viewing: Viewing, at: int) -> tuple[Pixels, Pixels]:
    """Prompts with the trigger and without it: prompt, seed, and its pixels."""
    pixels = np.stack([small(file) for file in viewing.files(at)])
    count = len(viewing.asked.rows)
    asked = pixels[: count * SEEDS].reshape(count, SEEDS, SIDE, SIDE, 3)
    return asked, pixels[count * SEEDS :][:, None]


def _apart(one: Pixels, other: Pixels) -> Pixels:
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=(-3, -2, -1))), dtype=np.float32)


def _variety(asked: Pixels) -> float:
    pairs = combinations(range(asked.shape[1]), 2)
    return float(np.mean([_apart(asked[:, a], asked[:, b]) for a, b in pairs]))


def _copy_limit(trained: Pixels) -> float:
    """Half of what training pictures are usually apart from the one most like them."""
    if len(trained) < 2:
        return 0.0
    nearest = [np.sort(_apart(one, trained))[1] for one in trained]
    return float(np.median(nearest)) / 2


def _shown(value: float) -> float:
    return round(float(value), 4)
