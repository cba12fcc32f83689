"""Every point of a sweep in one table: settings that differ, losses, and the best one as a recipe.

examples:
  lorakit sweep table                        # the newest sweep
  lorakit sweep table maya-sweep --json
  lorakit sweep table maya-sweep --winner recipes/maya-best.toml    # the best point's recipe

The best finished point is the one with the best measure that all of them have: the judge's number,
else held-out loss, else training loss, which says little about pictures.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import LorakitError
from lorakit.show import print_json, say, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", default="", metavar="NAME", help="default: the newest")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--winner", type=Path, metavar="FILE", help="write the best point's recipe there"
    )


def run(args: argparse.Namespace) -> int:
    from lorakit.engines.sweep import best, find_sweep, read_sweep, results_of
    from lorakit.engines.sweep_page import heads, row_of_point, winner_text
    from lorakit.files import write_new

    folder = find_sweep(args.sweep, Path.cwd()).absolute()
    sweep = read_sweep(folder)
    results = results_of(folder.parents[1], sweep)
    first, how = best(results)
    if args.json:
        rows = [{**vars(one), "point": one.point.to_json()} for one in results]
        found = first.point.name if first else None
        print_json({"sweep": sweep.name, "points": rows, "best": found, "by": how})
    else:
        names = heads(sweep)
        table(names, [row_of_point(sweep, one) for one in results], right=names[-5:-1])
    name = shlex.quote(sweep.name)
    if first is None:
        say_next(f"lorakit sweep run {name}")
        return 0
    recipe = folder / first.point.file
    say(f"Best: {first.point.name}, {how}.")
    if args.winner is None:
        say_next(f"lorakit sweep report {name}")
        return 0
    try:
        write_new(args.winner, winner_text(recipe, args.winner.stem))
    except FileExistsError:
        what = f"{args.winner} is there already, and is left as it is."
        raise LorakitError(what, hint="Name a new file.") from None
    say(f"wrote {args.winner}")
    say_next(f"lorakit plan {shlex.quote(str(args.winner))}")
    return 0
