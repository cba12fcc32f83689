"""Train what waits, one after another, past failed ones; what a kill or a restart cut off goes on.

examples:
  lorakit queue run
  lorakit queue run --notify "notify-send trained"
  lorakit queue run --share-device          # do not wait for another training on the same device

Ends with a table and an exit code: 0 all intact, 4 a training failed, 1 a recipe could not start,
130 stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lorakit.cli.terminal.ending import STOPPED, say_outcome
from lorakit.cli.terminal.screen import screen
from lorakit.cli.train import Result, code_of, notify, summary, train_one
from lorakit.errors import LorakitError
from lorakit.owner import Owned
from lorakit.run import queue
from lorakit.run.device import device_is_free, holder
from lorakit.runs.find import live_state
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record
from lorakit.show import say

WAIT_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument("--notify", metavar="CMD", help="a command to run at the end")
    parser.add_argument(
        "--share-device",
        action="store_true",
        help="do not wait for another training on the same device",
    )


def run(args: argparse.Namespace) -> int:
    root, results = Path.cwd(), list[Result]()

    def train(item: queue.Waiting) -> tuple[str, str]:
        say(f"queue {item.number}: {item.recipe}")
        outcome = go_on(Path(item.run), as_json=args.json) if item.run else None
        if outcome is not None:
            results.append(Result(Path(item.recipe), say_outcome(outcome), outcome))
        else:
            if not args.share_device:
                wait_for_device()
            results.append(
                train_one(
                    Path(item.recipe),
                    sets=list(item.sets),
                    unsets=list(item.unsets),
                    as_json=args.json,
                    begun=lambda run_dir: queue.begun(root, item.number, str(run_dir)),
                )
            )
            outcome = results[-1].outcome
        return results[-1].state, str(outcome.run_dir) if outcome else ""

    queue.work(root, train, go_on=lambda: not results or results[-1].code != STOPPED)
    if not results:
        say("Nothing waits. lorakit queue add RECIPE fills the queue.")
        return 0
    if not args.json:
        summary(results)
    if args.notify:
        notify(args.notify, results)
    return code_of(results)


def go_on(run_dir: Path, *, as_json: bool) -> Outcome | None:
    """What a killed queue or a restart left: a training that still runs is followed to its end, a
    dead one is resumed. None: begin anew.
    """
    from lorakit.run.resume.adopt import adopt, close_dead_run
    from lorakit.run.resume.stages import resume_run

    name = f"{run_dir.parent.name}/{run_dir.name}"
    try:
        state = live_state(read_record(run_dir))
        with screen(as_json=as_json) as emit:
            if state == "unattended":
                say(f"{name} trains on; its queue was killed. Following it.")
                return adopt(run_dir, emit=emit)
            if state != "dead":
                return None
            outcome = close_dead_run(run_dir)
            if outcome is not None and outcome.ok:
                return outcome
            say(f"{name} was cut off; it goes on from its newest intact state.")
            return resume_run(run_dir, emit=emit)
    except Owned as owned:  # its recipe must not train beside it
        say(f"{name}: waiting for {owned.owner}...")
        time.sleep(WAIT_S)
        return go_on(run_dir, as_json=as_json)
    except LorakitError as error:
        say(f"{name} cannot go on, so its recipe begins anew: {error.message}")
        return None


def wait_for_device() -> None:
    said = False
    while not device_is_free():
        if not said:
            say(f"waiting for the device; {holder()} is training on it")
            said = True
        time.sleep(WAIT_S)
