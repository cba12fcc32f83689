"""Train what waits, one after another, past failed ones; what a restart cut off is started again.

examples:
  lorakit queue run
  lorakit queue run --notify "notify-send trained"
  lorakit queue run --share-device          # do not wait for another training on the same device

Ends with a table and an exit code: 0 all whole, 4 a training failed, 1 a recipe could not start, 130 stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lorakit.cli.ending import STOPPED
from lorakit.cli.train import Result, code_of, notify, summary, train_one
from lorakit.run import queue
from lorakit.run.device import device_is_free, holder
from lorakit.show import tell

WAIT_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument("--notify", metavar="CMD", help="a command to run at the end")
    parser.add_argument("--share-device", action="store_true", help="do not wait for another training on the same device")


def run(args: argparse.Namespace) -> int:
    root, results = Path.cwd(), list[Result]()

    def train(item: queue.Waiting) -> tuple[str, str]:
        if not args.share_device:
            wait_for_device()
        tell(f"queue {item.number}: {item.recipe}")
        results.append(train_one(root / item.recipe, sets=list(item.sets), unsets=list(item.unsets), as_json=args.json))
        outcome = results[-1].outcome
        return results[-1].state, str(outcome.run_dir) if outcome else ""

    queue.work(root, train, go_on=lambda: not results or results[-1].code != STOPPED)
    if not results:
        tell("Nothing waits. lorakit queue add RECIPE fills the queue.")
        return 0
    if not args.json:
        summary(results)
    if args.notify:
        notify(args.notify, results)
    return code_of(results)


def wait_for_device() -> None:
    said = False
    while not device_is_free():
        if not said:
            tell(f"waiting for the device; {holder()} is training on it")
            said = True
        time.sleep(WAIT_S)
