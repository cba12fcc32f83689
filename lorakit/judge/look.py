"""What pictures say of the shortlist: what moved, sameness over seeds, copies; and models that the
user names. Children with torch draw, as for a sheet and among its pictures, and ask the models.

The base draws the same at the same noise. Distances are root mean squares of sixteen by sixteen
pixels; 1 is as far as two seeds of the base are apart. None of it ranks: docs/judge.md has why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lorakit import json_text
from lorakit.dataset.captions.models import CaptionModel, open_describer
from lorakit.errors import counted
from lorakit.judge.make import Inquiry, keep
from lorakit.judge.pictures import BASE, SEEDS, drawn_pictures, key_of
from lorakit.judge.score import LISTED, UNRANKED
from lorakit.runs.record import Judged
from lorakit.sheet.grid import picture_of
from lorakit.sheet.make import Order, missing_of, passes_of, run_torch
from lorakit.show import duration

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
SIDE = 16
CONTRASTIVE = ("clip", "siglip", "siglip2")
SELF_TAUGHT = ("dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext")
KINDS = {"likeness": (*SELF_TAUGHT, *CONTRASTIVE), "faithful": CONTRASTIVE}
INSTALL = 'It needs: pip install "lorakit[judge]"'


def open_models(asked: Mapping[str, str]) -> dict[str, CaptionModel]:
    wanted = {key: place for key, place in asked.items() if place}
    return {key: open_describer(at, f"--{key}", KINDS[key]) for key, at in wanted.items()}


def look(
    inquiry: Inquiry,
    found: Judged,
    python: str,
    *,
    models: Mapping[str, CaptionModel],
    say: Callable[[str], object],
    progress: Callable[[int, int], object],
) -> Judged:
    """Draw what is missing of the base and the shortlist (without a ranking, of every cell that is
    not broken), and add what the pictures say.
    """
    wanted = [one for one in found.cells if one.seen or one.verdict in {LISTED, UNRANKED}]
    keys = {BASE, *((one.checkpoint, one.strength) for one in wanted)}
    columns = [one for one in inquiry.viewing["columns"] if key_of(one) in keys]
    order = {**inquiry.viewing, "columns": columns}
    if total := len(missing := missing_of(order)):
        seconds = passes_of(order["family"], missing) * (inquiry.pace or 0.0)
        pace = f", about {duration(seconds)} by this run's pace" if seconds else ""
        say(f"Drawing {counted(total, 'picture')}{pace}.")
        run_torch(
            "lorakit.embedded.drawing.generate",
            order,
            inquiry.run_dir / "sheet" / "draw.log",
            python,
            what="pictures",
            progress=lambda: progress(total - len(missing_of(order)), total),
        )
    if left := len(missing_of(order)):
        said = f"{counted(left, 'picture')} not drawn yet; run it again to go on."
        found = replace(found, notes=(*found.notes, said))
    found = _with_pictures(found, order)
    if found.base and models:
        found = _with_models(found, order, models, python)
    return keep(inquiry, found)


def _with_pictures(found: Judged, order: Order) -> Judged:
    """And what the pictures that are there say."""
    if BASE not in (there := drawn_pictures(order)):
        return found
    asked, trained, base = order["asked"], _small(order["trained"]), _small(there[BASE])
    # a copy: nearer by half than training pictures usually are to the one most like them
    limit = np.median([np.sort(_apart(one, trained))[:2][-1] for one in trained]) / 2
    scale = max(_variety(base[:asked]), 1e-6)
    facts, resembled = {}, {}
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
        nearest = Path(order["trained"][int(near.min(axis=0).argmin())]).name
        resembled[key] = nearest if facts[key]["copies"] > facts[BASE]["copies"] else ""
    cells = [
        replace(one, seen={**(one.seen or {}), **facts[key]}, resembles=resembled[key])
        if (key := (one.checkpoint, one.strength)) in facts
        else one
        for one in found.cells
    ]
    return replace(found, cells=tuple(cells), base={**(found.base or {}), **facts[BASE]})


def _small(files: Sequence[Path | str]) -> Pixels:
    """The middle squares, at the size that distances are measured at."""
    size = (SIDE, SIDE)
    pictures = [ImageOps.fit(picture_of(Path(one)), size, Image.Resampling.BOX) for one in files]
    return np.stack([np.asarray(one, dtype=np.float32) / 255 for one in pictures])


def _apart(one: Pixels, other: Pixels) -> Pixels:
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=(-3, -2, -1))), dtype=np.float32)


def _variety(pixels: Pixels) -> float:
    """How far two seeds of a prompt are apart."""
    return float(_apart(pixels[::SEEDS], pixels[1::SEEDS]).mean())


def _with_models(
    found: Judged, order: Order, models: Mapping[str, CaptionModel], python: str
) -> Judged:
    """A number each, of the base and of the cells that are drawn."""
    there, module = drawn_pictures(order), "lorakit.embedded.judging.likeness"
    columns = [one for one in order["columns"] if key_of(one) in there]
    out = there[BASE][0].with_name("models.json")
    places = {key: str(model.weights.parent) for key, model in models.items()}
    child = {**order, "models": places, "columns": columns, "out": str(out)}
    run_torch(module, child, out.with_suffix(".log"), python, what="comparison", otherwise=INSTALL)
    facts = dict(zip(map(key_of, columns), json_text.read(out), strict=True))
    cells = [
        replace(one, seen={**one.seen, **facts[one.checkpoint, one.strength]}) if one.seen else one
        for one in found.cells
    ]
    asked = {**(found.models or {}), **{key: str(model) for key, model in models.items()}}
    base = {**(found.base or {}), **facts[BASE]}
    return replace(found, cells=tuple(cells), base=base, models=asked)
