"""Successive halving as a rule over records: at a rung the worst third of the points is stopped.
Each decision is a file of the sweep, made once: whoever comes later follows it.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.engines.sweep import PointResult, Sweep
from lorakit.errors import Fault, LorakitError, raise_on_errors
from lorakit.events import Emit, Event
from lorakit.files import write_atomic, write_new
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import progress_rows
from lorakit.runs.opening import plans_now
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record
from lorakit.trainers.table import trainer
from lorakit.typed_json import Part

RUNGS = (0.25, 0.5)  # of the steps
GOES_ON = frozenset({"interrupted", "stopped", "dead"})
LAST_SHARE = 0.25  # of the steps before the rung, over which losses are averaged
# Settings that change what the training loss measures: its values are not comparable across them.
OTHER_LOSS = frozenset(
    {
        *("min_snr_gamma", "loss_type", "huber_schedule", "huber_c", "prior_loss_weight"),
        *("debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred", "noise_offset"),
        *("weighting_scheme", "timestep_sampling", "resolution", "v_parameterization"),
    }
)


@dataclass(frozen=True)
class Rung(Part):
    """What was decided at one rung; `scores` are losses, None where there is none."""

    number: int = 0
    share: float = 0.0
    measure: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


class StopAt:
    """Passes events on, and asks the run to save and end once it has made so many steps."""

    def __init__(self, emit: Emit, step: int) -> None:
        self._emit, self._step = emit, step
        self._run_dir: Path | None = None

    def __call__(self, event: Event) -> None:
        self._emit(event)
        if event.kind == "started" and event.path:
            self._run_dir = Path(event.path)
        elif event.kind == "step" and self._run_dir and (event.step or 0) >= self._step:
            if event.step != event.total:
                write_atomic(self._run_dir / STOP_REQUEST, json.dumps({"mode": "save"}))
            self._run_dir = None


def require_resumable(recipe: Path) -> None:
    """Raises where a point like this one cannot be stopped and resumed."""
    first, *others = plans_now(recipe)
    by, faults = trainer(first.resolved.trainer), [*first.faults]
    if others:
        what = "has several stages, which no rung can compare."
        hint = "Run the sweep without --halving."
        faults.append(Fault(recipe.name, what, hint, "halving"))
    elif not (by.SAVES_WHEN_INTERRUPTED or first.resolved.get("save_state")):
        what = f"--halving resumes what it keeps, and {by.TITLE} saves no state by itself."
        hint = "Make the sweep with --set save_state=true --set save_every_n_steps=N."
        faults.append(Fault(recipe.name, what, hint, "halving"))
    raise_on_errors(faults)


def train_to(recipe: Path, result: PointResult, share: float, emit: Emit) -> Outcome | None:
    """Until that share of the steps; None where it is there already, or has failed."""
    if result.run_dir is None:
        plan = plans_now(recipe)[0]
        raise_on_errors(plan.faults)
        return train(plan, emit=StopAt(emit, math.ceil(share * plan.steps.total)))
    goal = math.ceil(share * result.total)
    if result.state not in GOES_ON or result.step >= goal:
        return None
    return resume_run(result.run_dir, emit=StopAt(emit, goal))


def decide(folder: Path, number: int, share: float, results: Sequence[PointResult]) -> Rung:
    """The decision of this rung, which is in the sweep's folder from now on."""
    path = folder / f"rung-{number}.json"
    if busy := [one.point.name for one in results if one.state in {"running", "unattended"}]:
        what = f"{', '.join(busy)} is still being trained by somebody else; nothing was decided."
        hint = f"Wait for it (lorakit watch {busy[0]}), then run this again."
        raise LorakitError(what, hint=hint)
    if not path.exists():
        held = all(one.held_out is not None for one in results if one.state != "failed")
        measure = "held-out loss" if held else "mean training loss"
        scores = {one.point.name: one.held_out if held else loss_at(one, share) for one in results}
        rung = Rung(number, share, measure, scores, *cut(scores))
        with suppress(FileExistsError):  # somebody else has decided just now, and that holds
            write_new(path, rung.as_text())
    return Rung.read(path)


def cut(scores: dict[str, float | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What goes on and what stops, in the sweep's order: the worst third, and what has no score."""
    known = {name: value for name, value in scores.items() if value is not None}
    ranked = sorted(known, key=lambda name: known[name])
    going = set(ranked[: len(ranked) - len(ranked) // 3])
    stopped = tuple(name for name in scores if name not in going)
    return tuple(name for name in scores if name in going), stopped


def loss_at(result: PointResult, share: float) -> float | None:
    """The mean over the last steps before the rung; None for a point that failed or is late."""
    if result.run_dir is None or result.state == "failed":
        return None
    goal = math.ceil(share * read_record(result.run_dir).steps.total)
    first = goal - max(1, round(goal * LAST_SHARE))
    losses = [
        row["loss"]
        for row in progress_rows(result.run_dir)
        if first < row["step"] <= goal and isinstance(row.get("loss"), (int, float))
    ]
    mean = sum(losses) / len(losses) if losses else math.nan
    return mean if math.isfinite(mean) else None


def rungs_made(folder: Path, sweep: Sweep) -> list[Rung]:
    paths = (folder / f"rung-{number}.json" for number in range(1, len(sweep.points) + 1))
    return [Rung.read(path) for path in paths if path.is_file()]
