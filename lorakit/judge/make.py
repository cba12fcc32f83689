"""From a run to its judgement: what is measured, what that costs, a child process that measures,
and the record that keeps the answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.errors import LorakitError
from lorakit.families import run_by
from lorakit.files import write_atomic
from lorakit.judge.pictures import JudgingPicture, JudgingPictures, pictures_of
from lorakit.judge.score import FEWEST, MeasuredCell, judge
from lorakit.runs.find import live_state, whole_of
from lorakit.runs.intact import require_intact
from lorakit.runs.ledger import Ledger
from lorakit.runs.record import Judged, now, read_record
from lorakit.sheet.make import choose, distinct, stamp
from lorakit.sheet.model import DrawnCheckpoint, SheetRow, Source
from lorakit.sheet.source import read_source, row_of
from lorakit.sheet.torch_job import TorchJob
from lorakit.user_files import Unreadable

Progress = Callable[[int, int], object]
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
MOST_PICTURES, MOST_CONTROLS, MOST_STEPS = 16, 12, 20
# Timesteps of 1000. Under little noise a loss is about fine texture: at 200 it misled.
PLACES = {"held": (400, 600, 800), "train": (400, 600, 800), "drawn": (333, 667)}
SEED = 15
LEAKS = (
    "It was trained without regularisation pictures. Held-out losses do not see what leaks into"
    " other prompts: look at lower strengths than those listed, too."
)
PLAIN = (  # where neither the recipe nor regularisation pictures say what must stay as it is
    "a photo of a dog in a park",
    "a red car on a street",
    "a house by a lake, summer",
    "a bowl of fruit on a table",
    "a woman reading in a cafe",
    "an old man with a hat, portrait",
    "a city at night, rain",
    "a cat on a sofa",
    "mountains under clouds, landscape",
    "a child playing on a beach",
    "a blue flower, close up",
    "a sailing boat on the sea",
)


@dataclass(frozen=True)
class JudgeChoice:
    """What was asked for."""

    checkpoints: str = "all"
    strengths: tuple[float, ...] = STRENGTHS
    held: Path | None = None  # a folder of pictures that were not trained on
    controls: tuple[str, ...] = ()
    budget_s: float | None = None


@dataclass(frozen=True)
class Cell:
    """A checkpoint at a strength, under the key that its line of results has."""

    checkpoint: DrawnCheckpoint
    place: int
    strength: float
    kinds: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{stamp(self.checkpoint.path)} {self.strength!r} {' '.join(self.kinds)}"


@dataclass(frozen=True)
class Inquiry:
    """Everything that will be measured, and what of it is there already."""

    run_dir: Path
    cells: tuple[Cell, ...]  # the last checkpoint's first: what a budget is best spent on
    order: dict[str, Any]
    held: int
    passes: int  # forward passes still to be made, of one picture each
    seconds: float | None  # what they take by the run's own pace
    regularised: bool = True

    @property
    def results(self) -> Path:
        return Path(self.order["results"])


def inquire(run_dir: Path, choice: JudgeChoice) -> Inquiry:
    """Everything decided, nothing measured."""
    record, source = read_record(whole_of(run_dir)), read_source(run_dir)
    if live_state(record) in {"running", "unattended"}:
        raise LorakitError(
            f"{record.run} is still being trained.", hint=f"lorakit watch {record.run}"
        )
    _require_openable(source.family)
    points = distinct(choose(source.checkpoints, choice.checkpoints, run_dir))
    for point in points:
        require_intact(run_dir, point.path)
    pictures = pictures_of(run_dir, choice.held)
    held, train = some(pictures.held), some(pictures.train)
    cells = _cells(points, choice.strengths, ranks=len(held) >= FEWEST, held=bool(held))
    jobs = _controls(source, run_dir, choice.controls, pictures, record.trigger)
    order = _order(run_dir, source, {"held": held, "train": train}, jobs)
    there = _there(Path(order["results"]))
    order |= {"cells": [_told(cell) for cell in cells if cell.key not in there]}
    order |= {"budget_s": choice.budget_s}
    passes = _passes(order)
    pace = record.pass_seconds
    seconds = None if pace is None else passes * pace
    regularised = bool(pictures.others)
    return Inquiry(run_dir, tuple(cells), order, len(held), passes, seconds, regularised)


def _require_openable(family: str) -> None:
    known = run_by("embedded")
    if family not in known:
        raise LorakitError(
            f"The judge measures with the embedded trainer, which opens {', '.join(known)};"
            f" this run is of {family}.",
            hint="lorakit sheet RUN --from-samples shows what the training drew.",
        )


def measure(inquiry: Inquiry, python: str, progress: Progress = lambda _done, _all: None) -> Judged:
    """Measure what is missing, judge what is there, write it to the record."""
    total, results = len(inquiry.order["cells"]), inquiry.results
    if total:
        before = len(_there(results))
        if not results.exists():
            write_atomic(results, "")
        work = TorchJob("lorakit.embedded.judging.measure", "judge", "measurements")

        def counted_lines() -> None:
            progress(min(total, results.read_bytes().count(b"\n") - before), total)

        work.run(inquiry.order, results.parent, python, counted_lines)
    there = _there(results)
    measured = [
        MeasuredCell(
            cell.checkpoint.path.name,
            cell.checkpoint.label,
            cell.place,
            cell.strength,
            there[cell.key],
        )
        for cell in inquiry.cells
        if cell.key in there
    ]
    if not measured:
        raise LorakitError(
            "The time was used up before the first cell was measured.",
            hint="Give it more: --budget 10m. What was measured is kept.",
        )
    found = judge(there["base"], measured)
    notes = found.notes if inquiry.regularised or not found.listed else (*found.notes, LEAKS)
    left = len(inquiry.cells) - len(measured)
    found = replace(found, when=now(), unmeasured=left, notes=notes)
    ledger = Ledger(whole_of(inquiry.run_dir))
    ledger.update(judged=found)
    if ledger.trouble:
        raise LorakitError(ledger.trouble)
    return found


def some(pictures: Sequence[JudgingPicture]) -> list[JudgingPicture]:
    """At most so many, spread evenly over all of them."""
    count = min(MOST_PICTURES, len(pictures))
    return [pictures[place * len(pictures) // count] for place in range(count)]


def _cells(
    points: Sequence[DrawnCheckpoint], strengths: Sequence[float], *, ranks: bool, held: bool
) -> list[Cell]:
    """Training pictures tell what was learned by heart, which one strength shows; where there is
    no ranking, they are what a broken run is seen by.
    """
    usual = min(strengths, key=lambda one: abs(one - 1.0))
    cells = []
    for place, point in reversed(list(enumerate(points))):
        for strength in strengths:
            kinds = ("held",) * held + ("train",) * (strength == usual or not ranks) + ("drawn",)
            cells.append(Cell(point, place, strength, kinds))
    return cells


def _told(cell: Cell) -> dict[str, Any]:
    lora = str(cell.checkpoint.path)
    return {"cell": cell.key, "lora": lora, "strength": cell.strength, "kinds": cell.kinds}


def _controls(
    source: Source, run_dir: Path, given: Sequence[str], pictures: JudgingPictures, trigger: str
) -> list[dict[str, Any]]:
    """What the base draws: prompts that have nothing to do with what was trained."""
    settings = tomllib.read(run_dir / "train.toml")
    row = source.rows[0] if source.rows else row_of({}, settings, source.family)
    prompts = list(given) or _without(trigger, [one.prompt for one in source.rows])
    if not given:
        others = _without(trigger, pictures.others)
        count = min(len(others), max(0, MOST_CONTROLS - len(prompts)))
        prompts += [others[place * len(others) // count] for place in range(count)]
        prompts += PLAIN
    unlike = list(dict.fromkeys(prompts))[: len(given) or MOST_CONTROLS]
    return [_job(row, prompt, SEED + place) for place, prompt in enumerate(unlike)]


def _without(trigger: str, prompts: Sequence[str]) -> list[str]:
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE) if trigger else None
    return [one for one in prompts if one and not (word and word.search(one))]


def _job(row: SheetRow, prompt: str, seed: int) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "negative": row.negative,
        "width": row.width,
        "height": row.height,
        "steps": min(row.steps, MOST_STEPS),
        "scale": row.scale,
        "seed": seed,
    }


def _order(
    run_dir: Path,
    source: Source,
    pictures: dict[str, list[JudgingPicture]],
    jobs: list[dict[str, Any]],
) -> dict[str, Any]:
    """For the child. Results are filed under everything that they depend on but the LoRA."""
    settings = tomllib.read(run_dir / "train.toml")
    told = {
        kind: [vars(one) | {"file": str(one.file)} for one in of] for kind, of in pictures.items()
    }
    bases = [stamp(Path(value)) for value in source.options.values() if isinstance(value, str)]
    shown = [stamp(one.file) for of in pictures.values() for one in of]
    order: dict[str, Any] = {
        "family": source.family,
        "options": dict(source.options),
        "zero_terminal_snr": bool(settings.get("zero_terminal_snr")),
        "seed": SEED,
        "places": PLACES,
        **told,
        "drawn": jobs,
    }
    words = json.dumps([order, bases, shown], sort_keys=True, default=str)
    key, folder = hashlib.sha256(words.encode()).hexdigest()[:16], run_dir / "judge"
    alone = json.dumps([source.family, order["options"], bases, jobs], sort_keys=True, default=str)
    drawn = f"drawn-{hashlib.sha256(alone.encode()).hexdigest()[:16]}.safetensors"
    return {**order, "results": str(folder / f"{key}.jsonl"), "drawn_file": str(folder / drawn)}


def _there(results: Path) -> dict[str, Any]:
    """What was measured before, by the key of its cell; a line that a kill has cut is dropped."""
    try:
        lines = results.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    found, whole = {}, []
    for line in lines:
        try:
            entry = json_text.loads(line)
            found[entry["cell"]] = {key: entry[key] for key in entry.keys() - {"cell"}}
            whole.append(line)
        except (ValueError, KeyError, TypeError, Unreadable):
            continue
    if len(whole) < len(lines):
        write_atomic(results, b"".join(whole))
    return found


def _passes(order: dict[str, Any]) -> int:
    """Each of one picture through the denoiser; two a step where the negative prompt is drawn."""
    shots = {kind: len(order[kind]) * len(places) for kind, places in PLACES.items()}
    if not order["cells"]:
        return 0
    cells = [cell["kinds"] for cell in order["cells"]]
    count = sum(shots[kind] for kinds in [*cells, tuple(shots)] for kind in kinds)
    if not Path(order["drawn_file"]).exists():
        guided = 1 if order["family"] == "flux" else 2
        count += sum(guided * job["steps"] for job in order["drawn"])
    return count
