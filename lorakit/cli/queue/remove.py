"""Take recipes out of the queue; their runs stay.

examples:
  lorakit queue remove 3 4
  lorakit queue remove --ended
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.run import queue
from lorakit.show import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER")
    parser.add_argument("--ended", action="store_true", help="everything that has ended")


def run(args: argparse.Namespace) -> int:
    if args.ended:
        say(f"{queue.clear_ended(Path.cwd())} removed.")
    for item in queue.remove(Path.cwd(), args.numbers) if args.numbers else ():
        say(f"removed {item.number}: {item.recipe}")
    if not args.numbers and not args.ended:
        say("Which? lorakit queue list shows the numbers; --ended takes everything that has ended.")
        return 2
    return 0
