"""Put recipes at the end of the queue.

examples:
  lorakit queue add recipes/maya.toml recipes/finn.toml
  lorakit queue add recipes/maya.toml --set learning_rate=5e-5
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.cli.terminal.recipe_arguments import add_override_arguments, recipe_path
from lorakit.run import queue
from lorakit.show import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="a recipe file, or the bare name of one in recipes/",
    )
    add_override_arguments(parser)


def run(args: argparse.Namespace) -> int:
    paths = [recipe_path(recipe) for recipe in args.recipes]
    for path in paths:
        item = queue.add(Path.cwd(), path, sets=args.sets, unsets=args.unsets)
        say(f"{item.number}: {item.recipe}")
    say("lorakit queue run trains them.")
    return 0
