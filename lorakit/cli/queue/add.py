"""Put recipes at the end of the queue. Each is planned first: what cannot start is refused now,
not in the night.

examples:
  lorakit queue add recipes/maya.toml recipes/finn.toml
  lorakit queue add recipes/maya.toml --set learning_rate=5e-5
"""

from __future__ import annotations

import argparse

from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.recipe_arguments import add_override_arguments
from lorakit.cli.train import put_into_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="a recipe file, or the bare name of one in recipes/",
    )
    add_override_arguments(parser)


def run(args: argparse.Namespace) -> int:
    put_into_queue(args.recipes, sets=args.sets, unsets=args.unsets)
    say_next("lorakit queue run")
    return 0
