"""Give a waiting recipe an earlier or later turn; its number stays.

examples:
  lorakit queue move 5                # next
  lorakit queue move 5 --before 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.run import queue
from lorakit.show import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", type=int, metavar="NUMBER")
    parser.add_argument(
        "--before", type=int, default=0, metavar="NUMBER", help="default: before all that wait"
    )


def run(args: argparse.Namespace) -> int:
    waiting = queue.move(Path.cwd(), args.number, before=args.before)
    say("The order now:", *(f"  {item.number}: {item.recipe}" for item in waiting))
    return 0
