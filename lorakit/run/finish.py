"""The end of a run: judge what lies there, find the cause of a bad end, close the record. Also for
runs whose lorakit died.
"""

from __future__ import annotations

import math
import re
import shlex
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lorakit.events import Event, Teller
from lorakit.logfile import last_lines
from lorakit.machine import free_disk
from lorakit.processes import Identity, oom_kills
from lorakit.run.diagnose import diagnose, run_name
from lorakit.run.resume.kohya_parts import gather
from lorakit.run.watch.supervise import Supervision, kind_of
from lorakit.runs import record as records
from lorakit.runs.folder import LOG
from lorakit.runs.outcome import Before, Diagnosis, Outcome, State, judge, made_since
from lorakit.runs.record import Record
from lorakit.runs.shape import Shape
from lorakit.runs.states import counter_of, fault_of
from lorakit.weights.finite import Weights
from lorakit.weights.safetensors import steps_of

FULL = 1 << 20
WINDOW = 400  # lines of the log in which a cause is looked for
_INNER_SIGNAL = re.compile(r"died with <Signals\.(SIG\w+): (\d+)>")
_INNER_CODE = re.compile(r"returned non-zero exit status (\d+)")


def close(  # noqa: PLR0917  (the parts of one sentence: whose record, what was watched, against what, told to whom)
    record: Record,
    supervision: Supervision,
    before: Before,
    tell: Teller,
    duration_s: float,
    cannot_wait: Callable[[], bool],
) -> Outcome:
    """Gather a resumed part's files, judge, explain, write down, tell."""
    for text in _gathered(record):
        tell(Event("warning", text=text, rule="gather"))
    outcome = _judged(record, supervision, before, duration_s)
    _add_missing_files(record, supervision, outcome)
    whole = [
        record.run_dir / str(entry.get("path"))
        for entry in record.data["states"]
        if not entry.get("fault")
    ]
    outcome = replace(outcome, states=tuple(path for path in whole if path.is_dir()))
    _write(
        record, outcome, supervision
    )  # first without waiting for hashes: the outcome must not be lost to impatience
    supervision.books.finish(cannot_wait)
    for part, entry in supervision.books.take():
        supervision.booked(part, entry)
    _write(record, outcome, supervision)
    record.give_room()
    tell(
        Event(
            "ended",
            outcome.step,
            outcome.total,
            loss=outcome.loss,
            seconds=round(duration_s, 1),
            text=outcome.state,
            path=None if outcome.lora is None else str(outcome.lora),
        )
    )
    return outcome


def output_of(record: Record) -> Path:
    return record.run_dir / str(record.data.get("output") or "output")


def _gathered(record: Record) -> list[str]:
    part = record.data["parts"][-1] if record.data["parts"] else {}
    if not part.get("output") or record.run_dir / str(part["output"]) == output_of(record):
        return []
    for key in ("checkpoints", "samples"):
        record.data[key] = [
            entry
            for entry in record.data[key]
            if not str(entry.get("path")).startswith(f"{part['output']}/")
        ]
    every = Shape.of(record.data).save_every
    return gather(
        record.run_dir,
        part,
        output_of(record),
        output_name=record.data["output_name"],
        save_every=every,
    )


def _judged(record: Record, supervision: Supervision, before: Before, duration_s: float) -> Outcome:
    follower, data = supervision.follower, record.data
    total = int(data["steps"].get("total") or 0)
    lora = output_of(record) / f"{data['output_name']}.safetensors"
    code, number = _how_it_ended(supervision.child.return_code, record.run_dir / LOG)
    early = follower.end_reason == "early_stop"
    rank = int(data["machine"].get("rank") or 0)
    if rank:
        weights, fault = _part_of_several(lora, code, number, follower.end_reason)
    else:
        weights, fault = judge(
            lora, before, steps=total, reached=follower.step, shorter_is_right=early
        )
    saved = tuple(made_since(output_of(record), before))
    outcome = Outcome(
        "failed",
        record.run_dir,
        code,
        number,
        follower.step,
        total,
        follower.loss,
        duration_s,
        lora=None if weights.fault else lora,
        saved=saved,
        nan=supervision.stopped == "nan"
        or follower.end_reason == "nan"
        or bool(weights.not_finite),
        recipe=str(data["recipe"]),
        settings=_values(data),
        asked_by=supervision.asked_by,
        rank=rank,
    )
    state, reason = _verdict(outcome, supervision, fault)
    outcome = replace(
        outcome,
        state=state,
        reason=reason,
        step=max(outcome.step, total if state == "done" and not early else 0),
    )
    return (
        replace(outcome, diagnosis=_diagnosis(record, outcome))
        if state in {"failed", "dead"}
        else outcome
    )


def _part_of_several(
    lora: Path, code: int | None, number: int | None, last_word: str
) -> tuple[Weights, str]:
    """The LoRA is on the first machine: judged by the exit code, or by the trainer's last word if
    nobody saw that.
    """
    whole = code == 0 or (code is None and number is None and last_word == "done")
    return Weights(lora, fault="is on the first machine"), (
        "" if whole else "this machine's part did not end well"
    )


def why_dead(run_dir: Path) -> Diagnosis:
    """What can be known about a run that ended while nobody watched, before anybody has closed its
    record. Changes nothing.
    """
    record = Record(run_dir, records.read_record(run_dir))
    return _diagnosis(
        record,
        Outcome("dead", run_dir, recipe=str(record.data["recipe"]), settings=_values(record.data)),
    )


def _diagnosis(record: Record, outcome: Outcome) -> Diagnosis:
    leader = Identity.read(record.data["process"])
    if leader is not None and not leader.same_boot:
        return Diagnosis(
            "the machine was restarted while the run went on",
            "the boot id differs from the one in the record",
            f"lorakit resume {run_name(record.run_dir)}",
            "reboot",
        )
    if outcome.lora is None and free_disk(record.run_dir) < max(
        FULL, int(record.data.get("estimate", {}).get("lora_bytes") or 0)
    ):
        return Diagnosis(
            "the disk is full; not even the log could be written to its end",
            f"{free_disk(record.run_dir) >> 20} MB are free",
            "df -h . && lorakit plan " + shlex.quote(outcome.recipe),
            "disk-full",
        )
    killed = leader is not None and oom_kills() > int(record.data["process"].get("oom_kills") or 0)
    return diagnose(last_lines(record.run_dir / LOG, WINDOW), outcome, memory_killed=killed)


def _verdict(outcome: Outcome, supervision: Supervision, fault: str) -> tuple[State, str]:
    stopped = supervision.stopped
    unseen = (
        outcome.exit_code is None and outcome.signal is None
    )  # nobody waited for it: its lorakit was gone
    clean = outcome.exit_code == 0 or unseen
    if not fault and not outcome.nan and (clean or stopped in {"signal", "request", "complete"}):
        return "done", ""
    if outcome.nan:
        step = supervision.follower.nan_at or outcome.step
        return (
            "failed",
            fault if outcome.lora and "NaN" in fault else f"the loss became NaN at step {step}",
        )
    if stopped == "signal":
        return "interrupted", f"interrupted at step {outcome.step} of {outcome.total}"
    if stopped == "request":
        return "stopped", f"stopped on request at step {outcome.step} of {outcome.total}"
    if stopped == "orphan":
        return (
            "failed",
            (
                f"the launcher ended ({_ending(outcome)}) and left the trainer running; the trainer"
                " was ended"
            ),
        )
    if supervision.follower.end_reason in {
        "interrupted",
        "terminated",
    }:  # somebody else's signal: another machine's, or a person's
        who = (
            "together with the other machines"
            if int(supervision.record.data["machine"].get("of") or 1) > 1
            else "from outside"
        )
        return "interrupted", f"stopped {who} at step {outcome.step} of {outcome.total}"
    if unseen:
        return (
            "dead",
            f"it ended at step {outcome.step} of {outcome.total} while no lorakit watched; {fault}",
        )
    if clean:
        return "failed", f"the script ended with exit code 0, but {fault}"
    return "failed", f"the script ended with {_ending(outcome)}" + (
        f"; {fault}" if outcome.lora else ""
    )


def _ending(outcome: Outcome) -> str:
    if outcome.signal is not None:
        return f"signal {outcome.signal} ({signal.Signals(outcome.signal).name})"
    return f"exit code {outcome.exit_code}"


def _how_it_ended(code: int | None, log: Path) -> tuple[int | None, int | None]:
    """Exit code and signal of the trainer itself: accelerate answers 1 for everything and tells
    the truth in its last line.
    """
    if code is None or code == 0:
        return code, None
    if code < 0:
        return None, -code
    for line in reversed(last_lines(log, 5)):
        if match := _INNER_SIGNAL.search(line):
            return None, int(match[2])
        if match := _INNER_CODE.search(line):
            return int(match[1]), None
    return code, None


def _add_missing_files(record: Record, supervision: Supervision, outcome: Outcome) -> None:
    """Files that no line of the log spoke about, and every whole state."""
    known = {str(entry.get("path")) for entry in record.data["checkpoints"]}
    for path in outcome.saved:
        name = supervision.name(path)
        if name not in known:
            entry: dict[str, Any] = {
                "path": name,
                "step": steps_of(path),
                "kind": kind_of(path.name),
            }
            record.data["checkpoints"].append(entry)
            supervision.books.checkpoint(record.run_dir, entry)
    output = output_of(record)
    states = sorted(output.glob("*-state")) if output.is_dir() else []
    fresh = [
        {
            "path": supervision.name(path),
            "step": counter_of(path) or 0,
            "fault": fault_of(path) or None,
        }
        for path in states
        if path.is_dir()
    ]
    named = {entry["path"] for entry in fresh}
    record.data["states"] = [
        old for old in record.data["states"] if old.get("path") not in named
    ] + fresh


def _write(record: Record, outcome: Outcome, supervision: Supervision) -> None:
    found = outcome.diagnosis
    before_s = float(record.data["parts"][-1].get("before_s") or 0) if record.data["parts"] else 0.0
    data = {
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "asked_by": outcome.asked_by,
        "step": outcome.step,
        "total": outcome.total,
        "loss": (
            outcome.loss if outcome.loss is not None and math.isfinite(outcome.loss) else None
        ),  # JSON has no NaN
        "validation_loss": supervision.follower.validation_loss,
        "duration_s": round(before_s + outcome.duration_s, 2),
        "reason": outcome.reason,
        "nan": outcome.nan,
        "gave_up": supervision.gave_up,
        "seconds_a_step": round(supervision.follower.seconds_a_step, 4) or None,
        "lora": None if outcome.lora is None else supervision.name(outcome.lora),
        "saved": [supervision.name(path) for path in outcome.saved],
        "diagnosis": None if found is None else asdict(found),
        "judged_by": "exit code" if outcome.rank else "files",
    }
    record.data["outcome"] = data
    if record.data["parts"]:
        record.data["parts"][-1] |= {
            "ended": records.now(),
            "state": outcome.state,
            "last_step": outcome.step,
        }
    record.update(state=outcome.state, ended=records.now())


def _values(data: dict[str, Any]) -> dict[str, object]:
    train = data["settings"].get("train", {})
    return {key: entry.get("value") for key, entry in train.items() if isinstance(entry, dict)}
