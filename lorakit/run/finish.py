"""The end of a run, watched or not: judge its files, find the cause, close the record."""

import math
import re
import signal
from dataclasses import replace
from pathlib import Path

from lorakit.catalogue.file_names import SampleName, samples_in
from lorakit.events import Event
from lorakit.journal import now
from lorakit.logfile import last_lines
from lorakit.machine import free_disk
from lorakit.processes import oom_kills
from lorakit.run.commands import RUNNING, at_work, numbered, work_of
from lorakit.run.diagnose import diagnose, sign, with_own_sets
from lorakit.run.resume.parts import collect_part_files, sample_drawn
from lorakit.run.watch.supervise import Supervision, kind_of
from lorakit.runs.folder import LOG
from lorakit.runs.ledger import Ledger
from lorakit.runs.outcome import Outcome, judge, made_since
from lorakit.runs.record import Diagnosis, Ending, SavedCheckpoint, SavedState, read_record
from lorakit.runs.states import states_in
from lorakit.trainers.table import trainer
from lorakit.weights.finite import Weights
from lorakit.weights.safetensors import planned_steps_of, steps_of

FULL = 1 << 20
WINDOW = 400  # lines of the log in which a cause is looked for
_INNER_SIGNAL = re.compile(r"died with <Signals\.(SIG\w+): (\d+)>")
_INNER_CODE = re.compile(r"returned non-zero exit status (\d+)")


def close(supervision: Supervision, duration_s: float) -> Outcome:
    """Collect a resumed part's files, judge, explain, write down, report."""
    ledger, emit = supervision.ledger, supervision.emit
    for text in collect_part_files(ledger):
        emit(Event("warning", text=text, rule="gather"))
    state, ending = _judged(supervision, duration_s)
    _add_missing_files(ledger, supervision, ending)
    ended, parts = now(), ledger.record.parts
    if parts:
        last = replace(parts[-1], ended=ended, state=state, last_step=ending.step)
        parts = (*parts[:-1], last)
    commands = (  # one that was killed could not say so itself
        replace(one, state=state) if one.state == RUNNING else one
        for one in supervision.follower.commands
    )
    # First without waiting for hashes: the outcome must not be lost to impatience.
    ledger.update(state=state, ended=ended, outcome=ending, parts=parts, commands=tuple(commands))
    supervision.hasher.finish(lambda: supervision.signals.hurried)
    supervision.hasher.enter()
    ledger.save()
    ledger.give_room()
    outcome = Outcome(ledger.run_dir, ledger.record)
    emit(
        Event(
            "ended",
            ending.step,
            ending.total,
            loss=ending.loss,
            seconds=round(duration_s, 1),
            text=state,
            path=None if outcome.lora is None else str(outcome.lora),
        )
    )
    return outcome


def _judged(supervision: Supervision, duration_s: float) -> tuple[str, Ending]:
    """The state it ended in, and the rest of the story."""
    follower, before = supervision.follower, supervision.before
    record, run_dir = supervision.ledger.record, supervision.ledger.run_dir
    total, output = record.steps.total, record.output_dir(run_dir)
    lora, *others = trainer(record.trainer.name).artefacts(work_of(run_dir, record))
    if record.value("reg_data_dir"):  # how often each folder comes up is the disk's to say
        total = planned_steps_of(lora) or total
    code, number = _how_it_ended(supervision.child.return_code, run_dir / LOG)
    early = follower.end_reason == "early_stop"
    if record.machine.rank:
        weights, fault = _part_of_several(lora, code, number, follower.end_reason)
    else:
        weights, fault = judge(
            lora, before, steps=total, reached=follower.step, shorter_is_right=early
        )
        for other in () if fault else others:
            fault = fault or judge(other, before, steps=total, reached=total)[1]
    finite = follower.loss is not None and math.isfinite(follower.loss)
    ending = Ending(
        exit_code=code,
        signal=number,
        asked_by=next(iter(supervision.signals.seen), None),
        step=follower.step,
        total=total,
        loss=follower.loss if finite else None,  # JSON has no NaN
        validation_loss=follower.validation_loss,
        duration_s=round(record.part.before_s + duration_s, 2),
        nan="nan" in {supervision.stopped, follower.end_reason} or bool(weights.not_finite),
        gave_up=supervision.gave_up,
        seconds_a_step=round(follower.seconds_a_step, 4) or None,
        lora=None if weights.fault else supervision.name(lora),
        saved=tuple(map(supervision.name, made_since(output, before))),
        judged_by="exit code" if record.machine.rank else "files",
    )
    state, reason = _verdict(ending, supervision, fault)
    least = total if state == "done" and not early else 0
    ending = replace(ending, reason=reason, step=max(follower.step, least))
    if state in {"failed", "dead"}:
        outcome = Outcome(run_dir, replace(record, state=state, outcome=ending))
        ending = replace(ending, diagnosis=_diagnosis(outcome))
    return state, ending


def _part_of_several(
    lora: Path, code: int | None, number: int | None, last_word: str
) -> tuple[Weights, str]:
    """The LoRA is on the first machine: the exit code judges, or the trainer's last word."""
    ended_well = code == 0 or (code is None and number is None and last_word == "done")
    fault = "" if ended_well else "this machine's part did not end well"
    return Weights(lora, fault="is on the first machine"), fault


def why_dead(run_dir: Path) -> Diagnosis:
    """What can be known about an unwatched end before the record is closed. Changes nothing."""
    return _diagnosis(Outcome(run_dir, replace(read_record(run_dir), state="dead")))


def _diagnosis(outcome: Outcome) -> Diagnosis:
    found = _cause(outcome)
    return replace(found, remedy=with_own_sets(found.remedy, outcome.record))


def _cause(outcome: Outcome) -> Diagnosis:
    run_dir, record = outcome.run_dir, outcome.record
    leader = record.process
    if leader.pid and not leader.same_boot:
        return sign("reboot", outcome, "the boot id differs from the one in the record")
    free = free_disk(run_dir)
    if outcome.lora is None and free < max(FULL, record.estimate.lora_bytes):
        return sign("full", outcome, f"{free >> 20} MB are free")
    killed = leader.pid > 0 and oom_kills() > leader.oom_kills
    return diagnose(last_lines(run_dir / LOG, WINDOW), outcome, memory_killed=killed)


def _verdict(ending: Ending, supervision: Supervision, fault: str) -> tuple[str, str]:
    stopped, follower = supervision.stopped, supervision.follower
    place = at_work(follower.commands)
    at = f"in {place}" if place else f"at step {ending.step} of {ending.total}"
    unseen = ending.exit_code is None and ending.signal is None  # nobody waited for it
    clean = ending.exit_code == 0 or unseen
    if not fault and not ending.nan and (clean or stopped in {"signal", "request", "complete"}):
        return "done", ""
    if ending.nan:
        if ending.lora and "NaN" in fault:
            return "failed", fault
        return "failed", f"the loss became NaN at step {follower.alarms.nan_at or ending.step}"
    if stopped == "signal":
        return "interrupted", f"interrupted {at}"
    if stopped == "request":
        return "stopped", f"stopped on request {at}"
    failed = (n for n, one in enumerate(follower.commands[:-1]) if one.state == "failed")
    if (number := next(failed, None)) is not None:
        what = follower.commands[number].text
        return "failed", f"{numbered(follower.commands, number)} failed: {what}"
    how = f"exit code {ending.exit_code}"
    if ending.signal is not None:
        how = f"signal {ending.signal} ({signal.Signals(ending.signal).name})"
    if stopped == "orphan":
        text = f"the launcher ended ({how}) and left the trainer running; the trainer was ended"
        return "failed", text
    if follower.end_reason in {"interrupted", "terminated"}:  # a signal that was not ours
        several = supervision.ledger.record.machine.of > 1
        who = "together with the other machines" if several else "from outside"
        return "interrupted", f"stopped {who} {at}"
    if unseen:
        return "dead", f"it ended {at} while no lorakit watched; {fault}"
    if clean:
        return "failed", f"the script ended with exit code 0, but {fault}"
    return "failed", f"the script ended with {how}" + (f"; {fault}" if ending.lora else "")


def _how_it_ended(code: int | None, log: Path) -> tuple[int | None, int | None]:
    """Code and signal of the trainer itself: accelerate answers 1 and says it at its end."""
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


def _add_missing_files(ledger: Ledger, supervision: Supervision, ending: Ending) -> None:
    """Files that no line of the log named, every state, and samples under their true names."""
    record = ledger.record
    known = {one.path for one in record.checkpoints}
    steps, counted = record.steps, trainer(record.trainer.name).STATES_COUNT
    new = [
        SavedCheckpoint(path, steps_of(ledger.run_dir / path), kind=kind_of(Path(path).name))
        for path in ending.saved
        if path not in known
    ]
    output = record.output_dir(ledger.run_dir)
    found = states_in(output, record.output_name, per_epoch=steps.per_epoch, counted=counted)
    states = [
        SavedState(supervision.name(one.path), one.step or steps.total, one.fault or None)
        for one in found
    ]
    named = {one.path for one in states}
    listed = {one.path for one in record.samples}
    drawn = [
        sample_drawn(supervision.name(path), name, steps)
        for path in samples_in(output)
        if supervision.name(path) not in listed and (name := SampleName.parse(path.name))
    ]
    ledger.note(
        samples=(*record.samples, *drawn),
        checkpoints=(*record.checkpoints, *new),
        states=(*(old for old in record.states if old.path not in named), *states),
    )
    for one in new:
        supervision.hasher.checkpoint(one)
