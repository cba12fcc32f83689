"""Note a remark, a rating, the chosen checkpoint or its strength; the registry shows them.

examples:
  lorakit note latest "hands better than v1" --rating 4
  lorakit note maya --chosen "epoch 6" --strength 0.8
"""

from __future__ import annotations

import argparse

from lorakit.cli.terminal.next_step import next_for_run, say_next
from lorakit.cli.terminal.trained import trained_run
from lorakit.errors import LorakitError
from lorakit.runs.find import find_run, whole_of
from lorakit.runs.record import read_record
from lorakit.runs.registry import add_note, update
from lorakit.sheet.source import checkpoint_file
from lorakit.show import say

CHOSEN = "the checkpoint to use: a file, or as a sheet shows it: 40, step 40, final"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="name, date, path or latest")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="the remark")
    parser.add_argument("--rating", type=int, metavar="0-5", help="how good it is")
    parser.add_argument("--chosen", default="", metavar="WHICH", help=CHOSEN)
    parser.add_argument("--strength", type=float, metavar="S", help="at which strength")


def run(args: argparse.Namespace) -> int:
    run_dir = whole_of(trained_run(args.run) if args.chosen else find_run(args.run))
    record = read_record(run_dir)
    if not args.text and args.rating is None and not args.chosen and args.strength is None:
        raise LorakitError(
            "Nothing to note.",
            hint='lorakit note RUN "a remark" --rating 4 --chosen FILE --strength 0.8',
        )
    output, chosen = record.output_dir(run_dir), args.chosen
    if chosen:
        chosen = checkpoint_file(output, record.output_name, chosen)
    add_note(run_dir, args.text, rating=args.rating, chosen=chosen, strength=args.strength)
    update(run_dir.parents[2])
    say(f"noted for {run_dir.parent.name}/{run_dir.name}")
    say_next(*next_for_run(run_dir))
    return 0
