"""End a run in good order, from any terminal.

lorakit stop                      # the latest run
lorakit stop maya                 # embedded: saves and ends; kohya: after the next checkpoint
lorakit stop maya --now           # at once; what is lost is said
"""

import json
import time
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import LorakitError, counted
from lorakit.files import write_atomic
from lorakit.owner import Owned
from lorakit.run.commands import at_work
from lorakit.run.resume.adopt import adopt
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import find_run, last_progress, live_state, run_name, stage_of
from lorakit.runs.record import Record, read_record
from lorakit.show import duration, say
from lorakit.trainers.table import trainer

POLL_S = 0.2


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.flag("--now", "do not wait for a checkpoint")


def run(args: Arguments) -> int:
    found = find_run(args.run)
    run_dir = stage_of(found)
    record = read_record(run_dir)
    state = live_state(record)
    if state not in {"running", "unattended"}:
        say(f"{run_name(run_dir)} is not running: {state}.")
        return 0
    waits = not args.now and not trainer(record.trainer.name).SAVES_WHEN_INTERRUPTED
    say(prospect(run_dir, record, now=args.now))
    write_atomic(run_dir / STOP_REQUEST, json.dumps({"mode": "now" if args.now else "save"}))
    try:
        return _wait(found)
    except KeyboardInterrupt:
        say("The request stands; the run will end by itself." if waits else "The run is ending.")
        return 130


def prospect(run_dir: Path, record: Record, *, now: bool) -> str:
    """What will happen and what is lost, as far as it can be known."""
    last, by = last_progress(run_dir), trainer(record.trainer.name)
    at = f"{run_name(run_dir)} is at step {last.step} of {record.steps.total}."
    if place := at_work(record.commands):
        return f"{run_name(run_dir)} is in {place}, before the training. It ends at once."
    saved = max((one.step or 0 for one in record.checkpoints if not one.removed), default=0)
    lost = _lost(last.step, saved)
    if by.SAVES_WHEN_INTERRUPTED:
        if now:
            return f"{at} The trainer ends at once and saves nothing; {lost}."
        return f"{at} The trainer saves and ends."
    if now:
        return f"{at} {by.TITLE} saves nothing when it is stopped; {lost}."
    coming = next((one for one in record.steps.checkpoints if one.step > last.step), None)
    if coming is None:
        none = "No further checkpoint is planned before the end"
        return f"{at} {none}; --now ends it at once, and then {lost}."
    wait_s = (coming.step - last.step) * (last.rate_s or 0)
    wait = f", in about {duration(wait_s)}" if wait_s else ""
    return f"{at} It ends after the next checkpoint, {coming.name} at step {coming.step}{wait}."


def _lost(step: int, last: int) -> str:
    lost = max(0, step - last)
    since = f", since step {last}" if last else ": nothing has been saved yet"
    return f"{counted(lost, 'step')} {'is' if lost == 1 else 'are'} lost{since}"


def _wait(found: Path) -> int:
    """Its owner obeys the request; without one we take over."""
    run_dir, told = stage_of(found), False
    while (state := live_state(read_record(run_dir))) in {"running", "unattended"}:
        try:
            if state == "unattended":
                return _ended(adopt(found).run_dir)
        except Owned as owned:
            say(*[] if told else [f"{owned.owner} is at work on it and ends it."])
            told = True
        time.sleep(POLL_S)
        if not run_dir.is_dir():
            raise LorakitError(f"{run_dir} is gone.")
    return _ended(run_dir)


def _ended(run_dir: Path) -> int:
    record = read_record(run_dir)
    say(f"{run_name(run_dir)}: {record.outcome.reason or record.state}.")
    states = (one.path for one in record.states if not one.fault)
    saved = [*record.outcome.saved, *(path for path in states if (run_dir / path).is_dir())]
    say("Saved: " + ", ".join(saved) if saved else "Nothing had been saved.")
    return 0
