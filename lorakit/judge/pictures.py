"""Which pictures a run trained on, never saw, and shall draw; reads headers and captions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.dataset.buckets import BucketRules, Chooser, Size, UnfitError
from lorakit.dataset.captions.read import caption_beside, kohya_caption
from lorakit.dataset.facts import image_files
from lorakit.dataset.split import hold_out
from lorakit.errors import LorakitError, RecipeError
from lorakit.files import sha256
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import read_header
from lorakit.runs.record import Judged, read_record
from lorakit.sheet.grid import Column
from lorakit.sheet.make import Order, lay_out
from lorakit.sheet.source import Source
from lorakit.trainers.table import trainer

ASKED, OTHERS, SEEDS = 4, 4, 2  # prompts drawn with the trigger and without, seeds of each
Key = tuple[str, float]  # a cell's file name and strength; the base's is BASE
BASE: Key = ("", 0.0)


@dataclass(frozen=True)
class JudgingPicture:
    """A picture with its words, and where it lands in the training's buckets."""

    file: Path
    caption: str
    size: Size
    bucket: Size
    scaled: Size


def pictures_of(
    run_dir: Path, held: Path | None
) -> tuple[list[JudgingPicture], list[JudgingPicture], list[str]]:
    """Unseen pictures, those of the folder `held` or those that the run held out; those that it was
    trained on; captions of regularisation pictures, of what must stay as it is.
    """
    path = run_dir / "dataset.toml"
    overlaps = trainer(read_record(run_dir).trainer.name).SPLIT_OVERLAPS
    kept: list[JudgingPicture] = []
    out: list[JudgingPicture] = []
    others: list[str] = []
    tables = tomllib.read(path).get("datasets") or [{}]
    for table in tables:
        chooser = _chooser(table, path)
        share, seed = float(table.get("validation_split", 0.0)), table.get("validation_seed", 0)
        for subset in table.get("subsets", []):
            found = list(_pictures(Path(str(subset["image_dir"])), subset, chooser))
            if subset.get("is_reg"):
                others += [one.caption for one in found if one.caption]
                continue
            train, apart = hold_out(found, share, int(seed), as_kohya=overlaps)
            kept += train
            out += [one for one in apart if one not in train]  # kohya's rounding
    if held is not None:
        out = list(_unseen(held.absolute(), _chooser(tables[0], path), kept))
    return out, kept, list(dict.fromkeys(others))


def _chooser(table: Mapping[str, Any], path: Path) -> Chooser:
    size = table.get("resolution", 512)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    words = {"enable_bucket": False, **table}
    try:
        return Chooser(BucketRules.said((sides[0], sides[-1]), words))
    except (ValueError, TypeError, IndexError) as error:
        raise LorakitError(f"{path}: {error}. Was it edited by hand?") from error


def _pictures(
    folder: Path, subset: Mapping[str, Any], chooser: Chooser
) -> Iterator[JudgingPicture]:
    """In the order in which they were split: that of their paths."""
    if not folder.is_dir():
        raise RecipeError(
            f"{folder}: the folder that the run was trained on is gone.",
            hint="Put it back, or give pictures that were not trained on: --held FOLDER",
        )
    ending = str(subset.get("caption_extension") or "")
    for file in image_files(folder):
        words = file.with_suffix(ending) if ending else caption_beside(file)
        text = kohya_caption(words).text if words and words.is_file() else None
        text = str(subset.get("class_tokens") or "") if text is None else text
        ends = (subset.get("caption_prefix"), text, subset.get("caption_suffix"))
        try:
            size = read_header(file).as_kohya_reads
            place = chooser.choose(*size)
        except (OSError, RefusedError, UnfitError) as error:
            raise RecipeError(
                f"{file}: {error}.", hint="Take it out of the folder, or fix it."
            ) from error
        said = " ".join(str(part) for part in ends if part)
        yield JudgingPicture(file, said, size, place.bucket, place.scaled)


def _unseen(
    folder: Path, chooser: Chooser, trained: list[JudgingPicture]
) -> Iterator[JudgingPicture]:
    """The folder's pictures; one that was trained on is refused, whatever its name."""
    if not folder.is_dir():
        raise RecipeError(f"--held {folder}: no such folder.")
    seen = {sha256(one.file): one.file for one in trained}
    for one in _pictures(folder, {}, chooser):
        if twin := seen.get(sha256(one.file)):
            raise RecipeError(
                f"{one.file} was trained on ({twin}); it cannot say what was learned.",
                hint="Take it out of that folder.",
            )
        yield one


def view(
    source: Source,
    cells: Sequence[tuple[Path, float]],
    trigger: str,
    captions: Sequence[str],
    others: Sequence[str],
) -> dict[str, Any]:
    """As a sheet has them; captions fill up where the recipe has few prompts with the trigger."""
    known = {one.prompt: one for one in source.rows}
    own = [one for one in known if one not in without(trigger, list(known))]
    asked = [one for one in dict.fromkeys([*own, *captions]) if one][:ASKED] or [trigger]
    row = source.rows[0] if source.rows else source.plain
    rows = [known.get(one) or replace(row, prompt=one) for one in (*asked, *others[:OTHERS])]
    columns = (Column("base"), *(Column("", lora, strength) for lora, strength in cells))
    _, order = lay_out(source, columns, rows, SEEDS, source.run_dir / "sheet")
    return {**order, "asked": len(asked) * SEEDS}


def key_of(column: Order) -> Key:
    return next(((Path(lora).name, strength) for lora, strength in column["loras"]), BASE)


def drawn_pictures(order: Order) -> dict[Key, list[Path]]:
    """The pictures of every column where none is missing; their names say what they depend on."""
    columns = order["columns"]
    files = {key_of(told): [Path(job["file"]) for job in told["pictures"]] for told in columns}
    return {key: own for key, own in files.items() if all(file.exists() for file in own)}


def with_seen(found: Judged, before: Judged, order: Order) -> Judged:
    """And what an earlier look found in pictures that are still those of these cells."""
    there = drawn_pictures(order)
    if not before.base or BASE not in there:
        return found
    old = {at: one for one in before.cells if (at := (one.checkpoint, one.strength)) in there}
    cells = (
        replace(one, seen=was.seen, resembles=was.resembles)
        if (was := old.get((one.checkpoint, one.strength)))
        else one
        for one in found.cells
    )
    return replace(found, cells=tuple(cells), base=before.base, models=before.models)


def without(trigger: str, prompts: Sequence[str]) -> list[str]:
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE) if trigger else None
    return [one for one in prompts if one and not (word and word.search(one))]
