"""What drawn pictures say without a further model: what moved, sameness over seeds, copies.

Every cell draws some prompts with the trigger and some without, in few steps, each at the base's
own noise. Distances are root mean squares of sixteen by sixteen pixels; 1 is as far as two seeds of
the base are apart. What this may decide, and what was proven of it: docs/judge.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lorakit.judge.score import BROKEN, LISTED, name
from lorakit.runs.record import Judged, JudgedCell
from lorakit.sheet.grid import Column, picture_of
from lorakit.sheet.make import Order, lay_out
from lorakit.sheet.source import Source

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Key = tuple[str, float]  # a cell's file name and strength; the base's is BASE
BASE: Key = ("", 0.0)
SIDE = 16
ASKED, SEEDS, OTHERS, STEPS = 4, 3, 8, 8  # prompts with the trigger, their seeds, prompts without
MOST_LISTED, PICTURED = 6, "pictured"


def view(
    source: Source,
    cells: Sequence[tuple[Path, float]],
    prompts: Sequence[str],
    others: Sequence[str],
    trained: Sequence[Path],
) -> Order:
    """The base's pictures and every cell's, kept among a sheet's; with the trigger first."""
    columns = (Column("base"), *(Column("", lora, strength) for lora, strength in cells))
    row = source.rows[0] if source.rows else source.plain
    row = replace(row, steps=min(row.steps, STEPS))
    (_, order), (_, more) = (
        lay_out(source, columns, [replace(row, prompt=one) for one in said], seeds, folder)
        for folder in [source.run_dir / "sheet"]
        for said, seeds in ((prompts, SEEDS), (others, 1))
    )
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
    """What the pictures that are there say; the list is filled up with the cells whose prompts with
    the trigger move most against the others.
    """
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
    cells = _filled([replace(one, seen=facts.get(_key(one))) for one in found.cells])
    notes, seen = list(found.notes), [one for one in cells if _key(one) in facts]
    if added := [name(one) for one in seen if one.verdict == PICTURED]:
        notes.append(f"Listed for their pictures: {', '.join(added)}.")
    copies = [
        f"{name(one)} ({facts[_key(one)]['copies']:g}, the nearest to {copied[_key(one)]})"
        for one in seen
        if one.verdict in {LISTED, PICTURED}
        if facts[_key(one)]["copies"] > facts[BASE]["copies"]
    ]
    if copies:
        notes.append(f"Drawn pictures that nearly are one it was trained on: {', '.join(copies)}.")
    return replace(found, cells=tuple(cells), base=facts[BASE], notes=tuple(notes))


def _key(cell: JudgedCell) -> Key:
    return cell.checkpoint, cell.strength


def _filled(cells: Sequence[JudgedCell]) -> list[JudgedCell]:
    listed = [one for one in cells if one.verdict == LISTED]
    able = [
        (one.seen["without"] - one.seen["with trigger"], place)
        for place, one in enumerate(cells)
        if one.seen and one.verdict not in {LISTED, BROKEN}
    ]
    most = [cells[place] for _, place in sorted(able)[: max(0, MOST_LISTED - len(listed))]]
    rest = [one for one in cells if one not in listed and one not in most]
    return [*listed, *(replace(one, verdict=PICTURED) for one in most), *rest]


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
