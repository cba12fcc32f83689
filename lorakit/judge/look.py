"""What drawn pictures say without a further model: what moved, sameness over seeds, copies.

The base and each cell of the shortlist draw prompts with the trigger and without, at the same
noise, as a sheet does and among its pictures. Distances are root mean squares of sixteen by sixteen
pixels; 1 is as far as two seeds of the base are apart. None of it ranks: docs/judge.md has why.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lorakit.errors import counted
from lorakit.judge.score import name
from lorakit.runs.record import Judged
from lorakit.sheet.grid import Column, picture_of
from lorakit.sheet.make import Order, lay_out
from lorakit.sheet.source import SheetRow, Source

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Key = tuple[str, float]  # a cell's file name and strength; the base's is BASE
BASE: Key = ("", 0.0)
SIDE = 16
ASKED, SEEDS, OTHERS = 4, 2, 6  # prompts with the trigger, their seeds, prompts without


def view(
    source: Source,
    cells: Sequence[tuple[Path, float]],
    prompts: Sequence[SheetRow],
    others: Sequence[SheetRow],
    trained: Sequence[Path],
) -> Order:
    """The base's pictures and every cell's, kept among a sheet's; with the trigger first."""
    columns = (Column("base"), *(Column("", lora, strength) for lora, strength in cells))
    folder = source.run_dir / "sheet"
    _, order = lay_out(source, columns, prompts, SEEDS, folder)
    _, more = lay_out(source, columns, others, 1, folder)
    for mine, also in zip(order["columns"], more["columns"], strict=True):
        mine["pictures"] += also["pictures"]
    return {**order, "asked": len(prompts) * SEEDS, "trained": list(map(str, trained))}


def drawn(order: Order) -> dict[Key, list[Path]]:
    """The pictures of every column where none is missing."""
    columns = order["columns"]
    files = {key_of(told): [Path(job["file"]) for job in told["pictures"]] for told in columns}
    return {key: own for key, own in files.items() if all(file.exists() for file in own)}


def key_of(column: Order) -> Key:
    return next(((Path(lora).name, strength) for lora, strength in column["loras"]), BASE)


def with_pictures(found: Judged, order: Order) -> Judged:
    """And what the pictures that are there say."""
    if BASE not in (there := drawn(order)):
        return found
    asked, trained, base = order["asked"], _small(order["trained"]), _small(there[BASE])
    limit, scale = _copy_limit(trained), max(_variety(base[:asked]), 1e-6)
    facts, copied = {}, {}
    for key, files in there.items():
        pixels = _small(files)
        moved, near = _apart(pixels, base) / scale, _apart(pixels[:asked, None], trained)
        measured = {
            "with trigger": moved[:asked].mean(),
            "without": moved[asked:].mean(),
            "variety": _variety(pixels[:asked]) / scale,
            "nearest": near.min() / scale,
            "copies": (near.min(axis=1) < limit).sum(),
        }
        facts[key] = {word: round(float(value), 3) for word, value in measured.items()}
        copied[key] = Path(order["trained"][int(near.min(axis=0).argmin())]).name
    cells = [replace(one, seen=facts.get((one.checkpoint, one.strength))) for one in found.cells]
    notes = list(found.notes)
    for one in cells:
        if one.seen and one.seen["copies"] > facts[BASE]["copies"]:
            count = counted(int(one.seen["copies"]), "picture")
            near = copied[one.checkpoint, one.strength]
            notes.append(f"{name(one)} draws {count} that it was trained on, nearly: {near}.")
    return replace(found, cells=tuple(cells), base=facts[BASE], notes=tuple(notes))


def _small(files: Sequence[Path | str]) -> Pixels:
    """The middle squares, at the size that distances are measured at."""
    size = (SIDE, SIDE)
    pictures = [ImageOps.fit(picture_of(Path(one)), size, Image.Resampling.BOX) for one in files]
    return np.stack([np.asarray(one, dtype=np.float32) / 255 for one in pictures])


def _apart(one: Pixels, other: Pixels) -> Pixels:
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=(-3, -2, -1))), dtype=np.float32)


def _variety(pixels: Pixels) -> float:
    """How far the seeds of a prompt are apart."""
    seeds = [pixels[first::SEEDS] for first in range(SEEDS)]
    return float(np.mean([_apart(one, other) for one, other in combinations(seeds, 2)]))


def _copy_limit(trained: Pixels) -> float:
    """Half of what training pictures are usually apart from the one most like them."""
    if len(trained) < 2:
        return 0.0
    return float(np.median([np.sort(_apart(one, trained))[1] for one in trained])) / 2
