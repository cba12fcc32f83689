"""From a run to its judgement: what is measured, what that costs, what the record keeps."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lorakit import tomllib
from lorakit.errors import LorakitError
from lorakit.families import run_by
from lorakit.journal import Journal, now
from lorakit.judge.pictures import JudgingPicture, pictures_of, view, with_seen, without
from lorakit.judge.score import FEWEST, Cell, judge
from lorakit.runs.find import live_state, whole_of
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import require_intact
from lorakit.runs.record import Judged, read_record
from lorakit.sheet.make import bases_of, choose, digest, distinct, passes_of, run_torch, stamp
from lorakit.sheet.source import DrawnCheckpoint, Source, read_source

Progress = Callable[[int, int], object]
Thing = TypeVar("Thing")
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
MOST_PICTURES, MOST_CONTROLS, MOST_STEPS = 16, 12, 20
# Timesteps of 1000. Under little noise a loss is about fine texture: at 200 it misled.
PLACES = {"held": (400, 600, 800), "train": (400, 600, 800), "drawn": (333, 667)}
SEED = 15
LEAKS = (
    "It was trained without regularisation pictures. Held-out losses do not see what leaks into"
    " other prompts: look at lower strengths than those listed, too."
)
# Prompts, where neither the recipe nor regularisation pictures say what must stay as it is.
PLAIN = Path(__file__).with_name("plain.txt")


@dataclass(frozen=True)
class Inquiry:
    """Everything that will be measured, and what of it is there already."""

    run_dir: Path
    cells: Mapping[str, Cell]  # by the key that its line of results has
    order: dict[str, Any]
    passes: int  # forward passes still to be made, of one picture each
    regularised: bool
    viewing: dict[str, Any]  # the pictures of every cell
    before: Judged
    pace: float | None  # the run's own, in seconds a forward pass


def inquire(
    run_dir: Path,
    *,
    checkpoints: str = "all",
    strengths: Sequence[float] = STRENGTHS,
    held: Path | None = None,
    controls: Sequence[str] = (),
    budget_s: float | None = None,
) -> Inquiry:
    """Everything decided, nothing measured; `held` is a folder of pictures not trained on."""
    record, source = read_record(whole_of(run_dir)), read_source(run_dir)
    if live_state(record) in {"running", "unattended"}:
        raise LorakitError(
            f"{record.run} is still being trained.", hint=f"lorakit watch {record.run}"
        )
    if source.family not in (able := run_by("embedded")):
        raise LorakitError(
            f"The judge measures with the embedded trainer, which opens {', '.join(able)};"
            f" this run is of {source.family}.",
            hint="lorakit sheet RUN --from-samples shows what the training drew.",
        )
    points = distinct(choose(source.checkpoints, checkpoints, run_dir))
    for point in points:
        require_intact(run_dir, point.path)
    out, kept, others = pictures_of(run_dir, held)
    unseen, train = some(out, MOST_PICTURES), some(kept, MOST_PICTURES)
    cells = _cells(points, strengths, ranks=len(unseen) >= FEWEST, held=bool(unseen))
    jobs = _controls(source, controls, others, record.trigger)
    order = _order(run_dir, source, {"held": unseen, "train": train}, jobs)
    there = _there(Path(order["results"]))
    order["cells"] = [told for told, _ in cells if told["cell"] not in there]
    order["budget_s"] = budget_s
    passes, pace = _passes(order), record.pass_seconds
    known = {told["cell"]: cell for told, cell in cells}
    worn = [(Path(told["lora"]), cell.strength) for told, cell in cells]
    words = [one.caption for one in unseen or train]
    viewing = view(source, worn, record.trigger, words, [job["prompt"] for job in jobs])
    viewing["trained"] = [str(one.file) for one in kept]
    viewing["until"] = budget_s and time.time() + budget_s
    return Inquiry(run_dir, known, order, passes, bool(others), viewing, record.judged, pace)


def measure(inquiry: Inquiry, python: str, progress: Progress = lambda _done, _all: None) -> Judged:
    """Measure what is missing, judge what is there, write it to the record."""
    total, results = len(inquiry.order["cells"]), Path(inquiry.order["results"])
    there = _there(results)
    if total:
        before = len(there)
        entries = [{"cell": cell, **losses} for cell, losses in there.items()]
        Journal(results).rewrite(entries)  # a kill may have cut the last line
        run_torch(
            "lorakit.embedded.judging.measure",
            inquiry.order,
            results.with_name("judge.log"),
            python,
            what="measurements",
            progress=lambda: progress(
                min(total, results.read_bytes().count(b"\n") - before), total
            ),
        )
        there = _there(results)
    measured = [
        replace(cell, losses=there[key]) for key, cell in inquiry.cells.items() if key in there
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
    return keep(inquiry, with_seen(found, inquiry.before, inquiry.viewing))


def keep(inquiry: Inquiry, found: Judged) -> Judged:
    ledger = Ledger(whole_of(inquiry.run_dir))
    ledger.update(judged=found)
    if ledger.trouble:
        raise LorakitError(ledger.trouble)
    return found


def some(things: Sequence[Thing], most: int) -> list[Thing]:
    """At most so many, spread evenly over all of them."""
    count = min(most, len(things))
    return [things[place * len(things) // count] for place in range(count)]


def _cells(
    points: Sequence[DrawnCheckpoint], strengths: Sequence[float], *, ranks: bool, held: bool
) -> list[tuple[dict[str, Any], Cell]]:
    """As ordered from the child and as judged, the last checkpoint's first: what a budget is best
    spent on.
    """
    # Training pictures show overfitting, which one strength shows; where there is
    # no ranking, they are what a broken run is seen by.
    usual = min(strengths, key=lambda one: abs(one - 1.0))
    cells = []
    for place, point in reversed(list(enumerate(points))):
        for strength in strengths:
            kinds = ("held",) * held + ("train",) * (strength == usual or not ranks) + ("drawn",)
            key = f"{stamp(point.path)} {strength!r} {' '.join(kinds)}"
            told = {"cell": key, "lora": str(point.path), "strength": strength, "kinds": kinds}
            cells.append((told, Cell(point.path.name, point.label, place, strength)))
    return cells


def _controls(
    source: Source, given: Sequence[str], others: Sequence[str], trigger: str
) -> list[dict[str, Any]]:
    """What the base draws: prompts that have nothing to do with what was trained."""
    row = source.rows[0] if source.rows else source.plain
    row = replace(row, steps=min(row.steps, MOST_STEPS))
    prompts = list(given)
    if not given:
        prompts = without(trigger, [one.prompt for one in source.rows])
        plain = without(trigger, others)
        prompts += some(plain, max(0, MOST_CONTROLS - len(prompts)))
        prompts += PLAIN.read_text(encoding="utf-8").splitlines()
    unlike = list(dict.fromkeys(prompts))[: len(given) or MOST_CONTROLS]
    return [
        asdict(replace(row, prompt=prompt)) | {"seed": SEED + place}
        for place, prompt in enumerate(unlike)
    ]


def _order(
    run_dir: Path,
    source: Source,
    pictures: dict[str, list[JudgingPicture]],
    jobs: list[dict[str, Any]],
) -> dict[str, Any]:
    """For the child. Results are filed under everything that they depend on but the LoRA."""
    settings = tomllib.read(run_dir / "train.toml")
    shown = [stamp(one.file) for of in pictures.values() for one in of]
    order: dict[str, Any] = {
        "family": source.family,
        "options": dict(source.options),
        "zero_terminal_snr": bool(settings.get("zero_terminal_snr")),
        "seed": SEED,
        "places": PLACES,
        "drawn": jobs,
    }
    for kind, of in pictures.items():
        order[kind] = [vars(one) | {"file": str(one.file)} for one in of]
    bases, folder = bases_of(source), run_dir / "judge"
    key = digest(order, bases, shown)[:16]
    drawn = digest(source.family, order["options"], bases, jobs)[:16]
    return {
        **order,
        "results": str(folder / f"{key}.jsonl"),
        "drawn_file": str(folder / f"drawn-{drawn}.safetensors"),
    }


def _there(results: Path) -> dict[str, Any]:
    """What was measured before, by the key of its cell."""
    entries = [one for one in Journal(results).read() if "cell" in one]
    return {one["cell"]: {key: one[key] for key in one if key != "cell"} for one in entries}


def _passes(order: dict[str, Any]) -> int:
    """Each of one picture through the denoiser."""
    if not order["cells"]:
        return 0
    shots = {kind: len(order[kind]) * len(places) for kind, places in PLACES.items()}
    cells = [cell["kinds"] for cell in order["cells"]]
    count = sum(shots[kind] for kinds in [*cells, tuple(shots)] for kind in kinds)
    if not Path(order["drawn_file"]).exists():
        count += passes_of(order["family"], order["drawn"])
    return count
