"""The record of a run with several stages, summed up from those of its stages: steps counted
through, paths from the run's folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.processes import Identity
from lorakit.runs import record as records
from lorakit.runs.find import PARENT, WAITING, stage_of
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Record, read_record

_LISTS = ("checkpoints", "states", "samples", "warnings")


def sum_up(record: Record, *, running: bool = False) -> None:
    """Write the run's record anew from those of its stages: steps counted through, paths from the
    run's folder.
    """
    stages = [
        (entry, read_record(record.run_dir / str(entry["folder"]))) for entry in record.data[PARENT]
    ]
    merged: dict[str, list[dict[str, Any]]] = {key: [] for key in _LISTS}
    offset = 0
    for entry, data in stages:
        for key in _LISTS:
            merged[key] += [_moved(one, entry, offset) for one in data[key]]
        outcome = data["outcome"]
        entry |= {
            "state": data["state"],
            "step": outcome.get("step"),
            "first_step": offset,
            "loss": outcome.get("loss"),
            "total": data["steps"].get("total"),
            "digest": data["dataset"].get("digest"),
        }
        offset += int(
            (outcome.get("step") if data["state"] == "done" else data["steps"].get("total")) or 0
        )
    begun = [pair for pair in stages if pair[1]["state"] != WAITING] or stages[:1]
    entry, now = begun[-1]
    digest = digest_of_stages([data["dataset"].get("digest") for _, data in stages])
    formula = "; ".join(f"{one['name']}: {data['steps'].get('formula')}" for one, data in stages)
    folder = str(entry["folder"])
    record.data |= {
        **{key: now[key] for key in ("settings", "trainer", "command", "env")},
        **merged,
        "output": f"{folder}/{now.get('output') or 'output'}",
        "steps": {**now["steps"], "total": offset, "formula": formula},
        "dataset": {**now["dataset"], "files": f"{folder}/dataset.json", "digest": digest},
        "weights": stages[0][1]["weights"],
        "process": now["process"],
        "supervisor": (
            Identity.of(os.getpid()).as_dict()
            if running
            else now["supervisor"] or record.data["supervisor"]
        ),
    }
    _conclude(record, [data for _, data in stages], running=running)


def close_over(run_dir: Path, outcome: Outcome) -> Outcome:
    """After the current stage of a run was adopted or buried: bring the run's own record to its
    end too.
    """
    record = Record(run_dir, read_record(run_dir))
    sum_up(record)
    return as_one(record, outcome)


def as_one(record: Record, last: Outcome) -> Outcome:
    """The last stage's outcome with the whole run's numbers and name."""
    said = record.data["outcome"]
    return replace(
        last,
        run_dir=record.run_dir,
        stage_dir=stage_of(record.run_dir),
        state=record.data["state"],
        step=int(said["step"]),
        total=int(said["total"]),
        duration_s=float(said["duration_s"]),
        reason=str(said["reason"]),
        lora=record.run_dir / said["lora"] if said["lora"] else None,
        saved=tuple(record.run_dir / path for path in said["saved"]),
    )


def digest_of_stages(digests: Sequence[str | None]) -> str | None:
    """One hash over the stages' datasets; none until each has its own."""
    return (
        hashlib.sha256("\n".join(map(str, digests)).encode()).hexdigest() if all(digests) else None
    )


def _conclude(record: Record, stages: Sequence[Mapping[str, Any]], *, running: bool) -> None:
    """State and outcome of the whole: done when every stage is, else what the first unfinished one
    says, with its name.
    """
    entries = record.data[PARENT]
    place = next(
        (number for number, data in enumerate(stages) if data["state"] != "done"), len(stages) - 1
    )
    data, entry = stages[place], entries[place]
    state = (
        "running" if running else "interrupted" if data["state"] == WAITING else str(data["state"])
    )
    name = f"stage {entry['name']} ({place + 1} of {len(stages)})"
    reason = (
        f"{name} has not begun"
        if data["state"] == WAITING
        else f"{name}: {data['outcome'].get('reason')}"
    )
    last = data["outcome"] if data["outcome"] or not place else stages[place - 1]["outcome"]
    lora = data["outcome"].get("lora")
    saved = [
        f"{one['folder']}/{path}"
        for one, said in zip(entries, stages, strict=True)
        for path in said["outcome"].get("saved") or ()
    ]
    record.data["outcome"] = (
        {}
        if running
        else {
            **last,
            "step": int(entry["first_step"]) + int(data["outcome"].get("step") or 0),
            "total": record.data["steps"]["total"],
            "duration_s": sum(float(one["outcome"].get("duration_s") or 0) for one in stages),
            "reason": "" if state == "done" else reason,
            "lora": f"{entry['folder']}/{lora}" if state == "done" and lora else None,
            "saved": saved,
        }
    )
    record.update(state=state, **({} if running else {"ended": records.now()}))


def _moved(one: Mapping[str, Any], entry: Mapping[str, Any], offset: int) -> dict[str, Any]:
    """An entry of a stage's list as the run's: its path from the run's folder, its step counted
    from the run's start.
    """
    more: dict[str, Any] = {"stage": entry["name"]}
    if one.get("path"):
        more["path"] = str(Path(str(entry["folder"])) / str(one["path"]))
    if isinstance(one.get("step"), int):
        more["step"] = one["step"] + offset
    return {**one, **more}
