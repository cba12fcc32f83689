"""Every point of a sweep in one table: settings that differ, losses, and the best one as a recipe.

lorakit sweep table                        # the newest sweep
lorakit sweep table maya-sweep --json
lorakit sweep table maya-sweep --winner recipes/maya-best.toml    # the best point's recipe

The best finished point is the one with the best measure that all of them have: the judge's number,
else held-out loss, else training loss, which says little about pictures.
"""

import shlex

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.files import write_or_refuse
from lorakit.show import print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.sweep()
    parser.json()
    parser.path("--winner", "FILE", "write the best point's recipe there")


def run(args: Arguments) -> None:
    from lorakit.engines.sweep import best, sweep_named
    from lorakit.engines.sweep_page import heads, row_of_point, winner_text

    folder, sweep, results = sweep_named(args.sweep)
    first, how = best(results)
    if args.json:
        rows = [{**vars(one), "point": one.point.to_json()} for one in results]
        found = first.point.name if first else None
        print_json({"sweep": sweep.name, "points": rows, "best": found, "by": how})
    else:
        names = heads(sweep)
        table(names, [row_of_point(sweep, one) for one in results], right=names[-5:-1])
    if first is None:
        say_next(f"lorakit sweep run {sweep.name}")
        return
    say(f"Best: {first.point.name}, {how}.")
    if args.winner is None:
        say_next(f"lorakit sweep report {sweep.name}")
        return
    text = winner_text(folder / first.point.file, args.winner.stem)
    write_or_refuse(args.winner, text, "Name a new file.")
    say(f"wrote {args.winner}")
    say_next(f"lorakit plan {shlex.quote(str(args.winner))}")
