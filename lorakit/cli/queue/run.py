"""Train what waits, one after another, past failed ones; what a kill or a restart cut off goes on.

lorakit queue run
lorakit queue run --notify "notify-send trained"
lorakit queue run --share-device          # do not wait for another training on the same device

Ends with a table and an exit code: 0 all intact, 4 a training failed, 1 a recipe could not start,
130 stopped.
"""

import time
from collections.abc import Collection
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.ending import STOPPED, say_outcome
from lorakit.cli.terminal.screen import screen
from lorakit.cli.train import Result, say_end, train_one
from lorakit.errors import LorakitError
from lorakit.run import queue
from lorakit.run.resume.adopt import adopt, close_dead_run
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import device_is_free, holder, own_run
from lorakit.runs.find import live_state, run_name
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record
from lorakit.show import say

WAIT_S = 2.0


def add_arguments(parser: Parser) -> None:
    parser.json("events as JSON lines on stdout")
    parser.value("--notify", "CMD", "a command to run at the end")
    parser.flag("--share-device", "do not wait for another training on the same device")


def run(args: Arguments) -> int:
    root, results = Path.cwd(), list[Result]()

    def train(item: queue.Waiting) -> tuple[str, str]:
        say(f"queue {item.number}: {item.recipe}")
        recipe = Path(item.recipe)
        outcome = go_on(Path(item.run), as_json=args.json) if item.run else None
        if outcome:
            results.append(Result(recipe, say_outcome(outcome), outcome))
        else:
            if not args.share_device:
                wait_for_device()
            results.append(
                train_one(
                    recipe,
                    sets=item.sets,
                    unsets=item.unsets,
                    as_json=args.json,
                    # at once: if this queue is killed, the next one goes on with the run
                    begun=lambda run_dir: queue.change(root, item.number, run=str(run_dir)),
                )
            )
            outcome = results[-1].outcome
        return results[-1].state, str(outcome.run_dir) if outcome else ""

    queue.work(root, train, go_on=lambda: not results or results[-1].code != STOPPED)
    if not results:
        say("Nothing waits. lorakit queue add RECIPE fills the queue.")
        return 0
    return say_end(results, args)


def go_on(run_dir: Path, *, as_json: bool, resumes: Collection[str] = ("dead",)) -> Outcome | None:
    """What was left: a training that still runs is followed to its end, one that ended as
    `resumes` says is resumed, and one that somebody else has in hand is waited for: its recipe
    must not train beside it, nor again. None: begin anew.
    """
    name = run_name(run_dir)

    def wait_for(owner: object) -> None:
        say(f"{name}: waiting for {owner}...")

    try:
        read_record(run_dir)  # before the lock, which would make the folder
        with own_run(run_dir, "lorakit queue run", wait_s=-1, waiting=wait_for):
            while live_state(read_record(run_dir)) == "running":  # on a disk that takes no lock
                time.sleep(WAIT_S)
            return _gone_on(run_dir, name, resumes, as_json=as_json)
    except LorakitError as error:
        say(f"{name} cannot go on, so its recipe begins anew: {error.message}")
        return None


def _gone_on(run_dir: Path, name: str, resumes: Collection[str], *, as_json: bool) -> Outcome:
    """The run is ours."""
    state = live_state(read_record(run_dir))
    with screen(as_json=as_json) as emit:
        if state == "unattended":
            say(f"{name} trains on; its queue was killed. Following it.")
            return adopt(run_dir, emit=emit)
        close_dead_run(run_dir)
        outcome = Outcome(run_dir, read_record(run_dir))
        if outcome.ok or state not in resumes:
            say(f"{name} has come to its end meanwhile: {outcome.state}.")
            return outcome
        say(f"{name} was cut off; it goes on from its newest intact state.")
        return resume_run(run_dir, emit=emit)


def wait_for_device() -> None:
    if device_is_free():
        return
    say(f"waiting for the device; {holder()} is training on it")
    while not device_is_free():
        time.sleep(WAIT_S)
