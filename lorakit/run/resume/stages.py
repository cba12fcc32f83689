"""A recipe with several stages as one run: runs/NAME/DATE-TIME holds a folder per stage, each a
run folder of its own, and a record that sums them up. The next stage starts from the last one's
LoRA; the first stage that does not end well ends the run.

All stages are written down before the first one starts (state `waiting`), so that a run goes on
later as it was planned, whatever has become of the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.events import Event, Teller, silent
from lorakit.files import write_atomic
from lorakit.plan.model import Plan
from lorakit.run.child import Patience
from lorakit.run.resume.adopt import bury
from lorakit.run.resume.next_command import is_untouched
from lorakit.run.resume.resume import Check, job_of_record, resume, unchecked
from lorakit.run.resume.stage_records import as_one, sum_up
from lorakit.run.train import execute, job_of
from lorakit.run.watch.hashing import Bookkeeper, digest_of
from lorakit.runs import record as records
from lorakit.runs.find import PARENT, WAITING, whole_of
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Record, read_record

_PATIENCE_S = 5.0  # for a dataset list that is still being made when the run ends


def train_stages(
    plans: Sequence[Plan],
    *,
    teller: Teller = silent,
    patience: Patience | None = None,
    past_nan: bool = False,
) -> Outcome:
    """Run the stages one after another. Raises only when nothing could be started."""
    run_dir = plans[0].run_dir.parent
    records.require_folder(run_dir)
    books = [_written_down(plan) for plan in plans]
    record = Record(run_dir, _opened(plans))
    sum_up(record, running=True)
    outcomes: list[Outcome] = []
    for number, (plan, book) in enumerate(zip(plans, books, strict=True)):
        stage = Record(plan.run_dir, read_record(plan.run_dir))
        book.weights(stage.data["weights"])
        tell = Stage(record, number, teller)
        tell.begin()
        outcomes.append(
            execute(job_of(plan), stage, book, teller=tell, patience=patience, past_nan=past_nan)
        )
        sum_up(record, running=outcomes[-1].ok and number + 1 < len(plans))
        if not outcomes[-1].ok:
            break
    for plan, book in list(zip(plans, books, strict=True))[len(outcomes) :]:
        _settle(plan.run_dir, book)
    return as_one(record, outcomes[-1])


def resume_stages(
    run_dir: Path,
    *,
    check: Check = unchecked,
    anyway: bool = False,
    teller: Teller = silent,
    patience: Patience | None = None,
) -> Outcome:
    """Go on in the stage where the run ended, then with those that wait."""
    record = Record(run_dir, read_record(run_dir))
    outcome: Outcome | None = None
    for number, folder in enumerate(_folders(record)):
        bury(folder)
        state = read_record(folder)["state"]
        if state == "done":
            continue
        tell = Stage(record, number, teller)
        tell.begin()
        go_on = _from_record if is_untouched(folder, state) else resume
        outcome = go_on(folder, check=check, anyway=anyway, teller=tell, patience=patience)
        sum_up(record, running=outcome.ok and number + 1 < len(record.data[PARENT]))
        if not outcome.ok:
            break
    if outcome is None:
        sum_up(record)
        raise LorakitError(f"{run_dir.parent.name}/{run_dir.name} is done: every stage.")
    return as_one(record, outcome)


def resume_run(
    run_dir: Path,
    *,
    check: Check = unchecked,
    anyway: bool = False,
    teller: Teller = silent,
    patience: Patience | None = None,
) -> Outcome:
    """`resume`, for a run with stages or without; a single stage of a run goes on as the run does."""
    run_dir = whole_of(run_dir)
    go_on = resume_stages if read_record(run_dir).get(PARENT) else resume
    return go_on(run_dir, check=check, anyway=anyway, teller=teller, patience=patience)


class Stage:
    """A teller that counts steps through all stages, and keeps the run's own record up to date
    where it matters.
    """

    def __init__(self, record: Record, number: int, teller: Teller) -> None:
        self._record, self._teller = record, teller
        self._entry, self._number = record.data[PARENT][number], number
        self._before_s = 0.0

    def begin(self) -> None:
        stages = [
            read_record(self._record.run_dir / str(entry["folder"]))
            for entry in self._record.data[PARENT]
        ]
        self._before_s = sum(
            float(data["outcome"].get("duration_s") or 0) for data in stages[: self._number]
        )
        count = len(stages)
        if self._number == 0:
            self._teller(
                Event(
                    "started",
                    0,
                    self._record.data["steps"]["total"],
                    path=str(self._record.run_dir),
                )
            )
        self._teller(
            Event("note", text=f"stage {self._entry['name']} ({self._number + 1} of {count})")
        )

    def __call__(self, event: Event) -> None:
        if event.kind in {"started", "saved", "sample", "warning", "validation"}:
            sum_up(self._record, running=True)
        total, is_last = (
            int(self._record.data["steps"]["total"]),
            self._number + 1 == len(self._record.data[PARENT]),
        )
        if event.kind == "started" or (
            event.kind == "ended" and event.text == "done" and not is_last
        ):
            return
        step = None if event.step is None else event.step + int(self._entry["first_step"])
        eta = (
            max(0, total - step) * event.rate_s
            if event.rate_s and step is not None
            else event.eta_s
        )
        seconds = None if event.seconds is None else event.seconds + self._before_s
        self._teller(
            replace(
                event, step=step, total=total if event.total else None, eta_s=eta, seconds=seconds
            )
        )


def _written_down(plan: Plan) -> Bookkeeper:
    """The stage's folder, files and record; the list of its images is made beside the training of
    the stages before.
    """
    records.require_folder(plan.run_dir)
    for name, text in plan.files.items():
        write_atomic(plan.run_dir / name, text)
    Record(plan.run_dir, {**records.from_plan(plan), "state": WAITING, "stage": plan.stage}).save()
    book = Bookkeeper()
    book.dataset(plan, plan.run_dir)
    return book


def _opened(plans: Sequence[Plan]) -> dict[str, Any]:
    run_dir = plans[0].run_dir.parent
    stages = [{"name": plan.stage, "folder": plan.run_dir.name} for plan in plans]
    return {
        **records.from_plan(plans[0]),
        "run": f"{run_dir.parent.name}/{run_dir.name}",
        "files": {},
        "process": {},
        "supervisor": {},
        PARENT: stages,
    }


def _from_record(
    folder: Path, *, check: Check, anyway: bool, teller: Teller, patience: Patience | None
) -> Outcome:
    """A stage that has never begun, as it was planned."""
    record = Record(folder, read_record(folder))
    for text in check(folder, anyway):
        record.data["warnings"].append(
            {"step": 0, "rule": "inputs", "text": f"not as it was planned: {text}"}
        )
        teller(Event("note", text=f"not as it was planned: {text}"))
    if record.data["dataset"].get("digest") is None:
        record.data["dataset"] |= _listed(folder)
    record.data["outcome"] = {}
    book = Bookkeeper()
    book.weights(record.data["weights"])
    return execute(
        job_of_record(folder, record.data), record, book, teller=teller, patience=patience
    )


def _settle(folder: Path, book: Bookkeeper) -> None:
    """What the bookkeeper found out about a stage that was not reached."""
    import time

    end = time.monotonic() + _PATIENCE_S
    book.finish(lambda: time.monotonic() > end)
    record = Record(folder, read_record(folder))
    for part, entry in book.take():
        if part == "dataset":
            record.data["dataset"] |= entry
    record.save()


def _listed(folder: Path) -> dict[str, Any]:
    """The digest of a list that an earlier lorakit made and could not enter any more."""
    try:
        return {
            "digest": digest_of(json.loads((folder / "dataset.json").read_bytes())),
            "files": "dataset.json",
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folders(record: Record) -> Iterator[Path]:
    return (record.run_dir / str(entry["folder"]) for entry in record.data[PARENT])
