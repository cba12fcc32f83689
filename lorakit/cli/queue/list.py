"""What waits, runs and has ended.

examples:
  lorakit queue list
  lorakit queue list --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.run import queue
from lorakit.show import print_json, say, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    items = queue.listed(Path.cwd())
    if args.json:
        print_json([item.to_json() for item in items])
        return 0
    if not items:
        say("The queue is empty. lorakit queue add RECIPE fills it.")
        return 0
    table(
        ("number", "recipe", "state", "settings", "run"),
        [
            (
                item.number,
                item.recipe,
                item.state,
                " ".join([*item.sets, *(f"-{key}" for key in item.unsets)]) or "-",
                item.run or "-",
            )
            for item in items
        ],
        right=("number",),
    )
    return 0
