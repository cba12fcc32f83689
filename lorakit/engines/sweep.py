"""A sweep: sweeps/NAME/ with one plain recipe for each point and a manifest, sweep.json. Which run
belongs to which point is in the runs' own records; nothing here is kept twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lorakit.engines.points import recipe_with
from lorakit.errors import Fault, LorakitError, RecipeError, counted, did_you_mean, raise_on_errors
from lorakit.files import below, sha256, write_new
from lorakit.journal import now
from lorakit.machine import Machine
from lorakit.plan.make import faults_of, make_plans
from lorakit.plan.model import Plan
from lorakit.portable import name_problem
from lorakit.private import is_private_set
from lorakit.proof.lock import lock_of_all, lock_path, text_of
from lorakit.recipe.checks import Checker
from lorakit.recipe.document import KeyPath, read_document
from lorakit.recipe.layers import read_key, read_value
from lorakit.recipe.model import Resolved
from lorakit.recipe.reading import place_of
from lorakit.recipe.resolve import TOP_KEYS, resolve, root_of
from lorakit.runs.find import info, run_dirs
from lorakit.runs.opening import plans_now
from lorakit.runs.record import read_record
from lorakit.typed_json import Part, rare
from lorakit.user_files import Missing, Unreadable

FOLDER, MANIFEST, SCHEMA = "sweeps", "sweep.json", 1
TOLD = ("state", "steps", "outcome", "judged")
AGAIN = "Make the sweep again under another --name, or take the file from git."


@dataclass(frozen=True)
class SweepPoint(Part):
    """One recipe of a sweep; `settings` is what differs, by section.key."""

    name: str = ""
    file: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    sha256: str = ""
    asked: tuple[str, ...] = rare(())  # of a search: KEY=VALUE, as it was drawn


@dataclass(frozen=True)
class Sweep(Part):
    schema: int = SCHEMA
    name: str = ""
    recipe: str = ""
    made: str = ""
    vary: tuple[str, ...] = ()
    seed: int | None = rare(None)  # of --random or --search
    search: int = rare(0)  # points in all that --search wants
    points: tuple[SweepPoint, ...] = ()

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What is varied, as section.key."""
        return tuple(dict.fromkeys(key for point in self.points for key in point.settings))


@dataclass(frozen=True)
class PlannedPoint:
    point: SweepPoint
    text: str
    plans: tuple[Plan, ...]


@dataclass(frozen=True)
class PointResult:
    """A point and its newest run, if it has one."""

    point: SweepPoint
    state: str = "not started"
    step: int = 0
    total: int = 0
    loss: float | None = None
    held_out: float | None = None
    judged: float | None = None  # the lowest held-out loss against the base's
    run_dir: Path | None = None
    reason: str = ""


def plan_points(
    recipe: Path, name: str, said: Sequence[Sequence[str]], sets: Sequence[str] = (), first: int = 1
) -> list[PlannedPoint]:
    """Plan every point, or say what is wrong with all of them; nothing is written."""
    private = [text.partition("=")[0] for text in sets if is_private_set(text)]
    what = "belongs in no file; set it in the environment of the training."
    wrong = [Fault(f"--set {key}", what, rule="vary") for key in private]
    if problem := name_problem(name):
        wrong.append(Fault("--name", problem, rule="name"))
    raise_on_errors(wrong)
    faults: dict[str, Fault] = {}
    planned: list[PlannedPoint] = []
    width = len(str(len(said)))
    for number, words in enumerate(said, first):
        point = f"{name}-{number:0{max(2, width)}}"
        try:
            one, found = _planned(recipe, name, point, [*sets, *words], words)
        except RecipeError as error:
            found = [*error.faults, *([] if error.faults else [Fault(str(recipe), error.message)])]
        else:
            planned.append(one)
        wrong = [fault for fault in found if fault.severity == "error"]
        for fault in wrong:  # the same fault of every point is said once
            hint = f"{fault.hint} (point {' '.join(words)})".strip()
            faults.setdefault(str(fault), Fault(fault.where, fault.what, hint, fault.rule))
    raise_on_errors(list(faults.values()))
    return planned


def _planned(
    recipe: Path, sweep: str, name: str, sets: Sequence[str], words: Sequence[str]
) -> tuple[PlannedPoint, list[Fault]]:
    resolved, faults = resolve(recipe, sets=[*sets, f"name={name}"])
    plans = make_plans(resolved, faults, run_dir=resolved.root / "runs" / name / "plan")
    found = [fault for plan in plans for fault in plan.faults]
    document = read_document(resolved.file, recipe.name)
    values = dict(_value(resolved, text) for text in sets)
    varied = dict(_value(resolved, text) for text in words)
    settings: dict[str, object] = {".".join(path): value for path, value in varied.items()}
    about = ", ".join(f"{path[-1]} = {value}" for path, value in varied.items())
    origin = resolved.file.relative_to(resolved.root).as_posix()
    head = f"{name}, of the sweep {sweep} over {origin}: {about}"
    text = recipe_with(document, {("name",): name, **values}, head)
    digest = hashlib.sha256(text.encode()).hexdigest()
    point = SweepPoint(name, f"{name}.toml", settings, digest, tuple(words))
    return PlannedPoint(point, text, plans), found


def _value(resolved: Resolved, text: str) -> tuple[KeyPath, Any]:
    """Where a KEY=VALUE belongs in the recipe's file, and the value as the option takes it."""
    key, _, raw = text.partition("=")
    parts, value = read_key(key.strip()), read_value(raw.strip())
    if len(parts) == 1 and parts[0] in TOP_KEYS:
        return parts, raw.strip()
    place = place_of(parts, Checker(resolved.family, resolved.trainer))
    if place is None:  # reported as a fault by resolve
        return parts, value
    section, key, rest = place
    taken = getattr(resolved, section).get(key)
    if not rest and taken is not None and "{" not in raw:
        value = taken.value
    return (section, key, *rest), value


def write_sweep(
    recipe: Path,
    name: str,
    vary: Sequence[str],
    planned: Sequence[PlannedPoint],
    *,
    seed: int | None = None,
    search: int = 0,
    locked: bool = False,
) -> Path:
    """The folder must be new; the manifest comes last, so that half a sweep is none."""
    root = root_of(recipe.absolute())
    origin = below(recipe.absolute(), root)
    points = tuple(one.point for one in planned)
    sweep = Sweep(SCHEMA, name, origin, now(), tuple(vary), seed, search, points)
    folder = root / FOLDER / name
    if folder.exists():
        hint = "Choose another --name."
        raise RecipeError(f"{folder} is there already, and is left as it is.", hint=hint)
    write_points(folder, planned, locked=locked)
    write_new(folder / MANIFEST, sweep.as_text())
    return folder


def write_points(folder: Path, planned: Sequence[PlannedPoint], *, locked: bool) -> None:
    for one in planned:
        path = folder / one.point.file
        write_new(path, one.text)
        if locked:
            write_new(lock_path(path), text_of(lock_of_all(plans_now(path), quick=True)))


def find_sweep(word: str, root: Path) -> Path:
    """The folder that a name or a path means; the newest sweep for no word."""
    folders = sorted((root / FOLDER).glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not word and folders:
        return folders[-1].parent
    for folder in (Path(word), root / FOLDER / word) if word else ():
        if (folder / MANIFEST).is_file():
            return folder
    near = did_you_mean(word, [path.parent.name for path in folders])
    what = f"No sweep is called {word!r}. {near}".rstrip() if word else "There is no sweep here."
    raise LorakitError(what, hint="lorakit sweep RECIPE --vary KEY=a,b,c makes one.")


def read_sweep(folder: Path) -> Sweep:
    path = folder / MANIFEST
    try:
        sweep = Sweep.read(path)
    except Missing:
        raise LorakitError(f"{folder} has no {MANIFEST}; it is not a sweep.") from None
    except Unreadable as error:
        raise LorakitError(str(error), hint=AGAIN) from None
    if sweep.schema > SCHEMA:
        raise LorakitError(f"{path} was written by a newer lorakit.")
    names = [point.name for point in sweep.points]
    strange = [one for one in sweep.points if name_problem(one.name) or "/" in one.file]
    if name_problem(sweep.name) or strange or not names or len(set(names)) < len(names):
        raise LorakitError(f"{path} names no points, or one twice or strangely.", hint=AGAIN)
    return sweep


def sweep_named(word: str) -> tuple[Path, Sweep, list[PointResult]]:
    """Its folder, what it says, and how far each of its points is."""
    folder = find_sweep(word, Path.cwd()).absolute()
    sweep = read_sweep(folder)
    return folder, sweep, results_of(folder.parents[1], sweep)


def edited(folder: Path, sweep: Sweep) -> list[Fault]:
    """Points whose recipe is no longer what the manifest says: missing is an error."""
    faults = []
    for point in sweep.points:
        path = folder / point.file
        if not path.is_file():
            faults.append(Fault(str(path), "is gone.", AGAIN, "sweep"))
        elif sha256(path) != point.sha256:
            what = "has been edited since the sweep was made; the table shows what was planned."
            faults.append(Fault(str(path), what, "", "sweep", "warning"))
    return faults


def require_plannable(folder: Path, points: Sequence[SweepPoint], machine: Machine) -> None:
    """Every fault of every point, before any of them is queued or submitted."""
    faults: list[Fault] = []
    for point in points:
        faults += faults_of(plans_now(folder / point.file, machine=machine))
    raise_on_errors(list(dict.fromkeys(faults)))


def results_of(root: Path, sweep: Sweep) -> list[PointResult]:
    return [_result(root, point) for point in sweep.points]


def _result(root: Path, point: SweepPoint) -> PointResult:
    runs = run_dirs(root, point.name)
    if not runs:
        return PointResult(point)
    try:
        record = read_record(runs[-1], only=TOLD)
    except LorakitError as error:
        return PointResult(point, "broken", run_dir=runs[-1], reason=error.message)
    ended, state, loss = record.outcome, record.state, record.outcome.loss
    step = ended.step or 0
    if state == "running":
        live = info(runs[-1])
        state, step, loss = live.state, live.step, live.loss
    held = [cell.held for cell in record.judged.cells if cell.held is not None]
    numbers = (step, record.steps.total, loss, ended.validation_loss, min(held, default=None))
    return PointResult(point, state, *numbers, runs[-1], ended.reason)


MEASURES = {
    "judged": "the judge's number",
    "held_out": "held-out loss",
    "loss": "training loss (which says little about pictures)",
}


def measure_of(done: Sequence[PointResult]) -> str:
    """The best one that all of them have."""
    held = (key for key in MEASURES if all(getattr(one, key) is not None for one in done))
    return next(held, "loss")


def best(results: Sequence[PointResult]) -> tuple[PointResult | None, str]:
    """The best finished point by the best measure that all of them have, and how it was told."""
    done = [one for one in results if one.state == "done"]
    key = measure_of(done)
    values = [getattr(one, key) for one in done]
    if not done or None in values:
        return None, ""
    ties = values.count(min(values)) - 1
    also = f"; {counted(ties, 'other')} equal" if ties else ""
    told = f"lowest {MEASURES[key]} of {counted(len(done), 'finished point')}{also}"
    return done[values.index(min(values))], told
