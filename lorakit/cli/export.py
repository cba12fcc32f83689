"""A folder that trains a recipe without lorakit: config, dataset config, shell script.

examples:
  lorakit export recipes/maya.toml --to kohya              writes exports/maya/
  lorakit export maya --to kohya -o ~/handover --set max_train_epochs=4

Paths below the project are relative, so the project moves as a whole. What could not be expressed
is listed. `lorakit import exports/maya` makes the same plan of it again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lorakit.catalogue.checkout import CHECKOUTS
from lorakit.cli.terminal import recipe_arguments as recipe_args
from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import did_you_mean, raise_on_errors, refused
from lorakit.exchange.export import export, variable_of
from lorakit.files import at_home, write_new
from lorakit.machine import this_machine
from lorakit.plan.make import make_plans
from lorakit.recipe.resolve import resolve
from lorakit.show import print_text, say
from lorakit.trainers.table import TRAINERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recipe_args.add_recipe_arguments(parser)
    parser.add_argument("--to", required=True, metavar="TRAINER", help="whose files: kohya")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="default: exports/NAME")
    parser.add_argument(
        "--for",
        dest="machine",
        metavar="DEVICE",
        type=recipe_args.another_machine,
        help="plan for another machine, as `lorakit plan --for`",
    )


def run(args: argparse.Namespace) -> int:
    able = [name for name in TRAINERS if name in CHECKOUTS]
    if args.to not in able:
        what = f"lorakit cannot write what {args.to!r} reads; it can for {', '.join(able)}."
        raise refused("--to", what, did_you_mean(args.to, able))
    file, sets = recipe_args.recipe_path(args.recipe), [*args.sets, f"trainer={args.to}"]
    resolved, faults = resolve(file, sets=sets, unsets=args.unsets)
    out = at_home(args.out) if args.out else resolved.root / "exports" / resolved.name
    machine = args.machine or replace(this_machine(), elsewhere=True)
    plans = make_plans(resolved, faults, run_dir=out, machine=machine)
    raise_on_errors([fault for plan in plans for fault in plan.faults])
    taken = [one.run_dir / name for one in plans for name in export(one).files]
    for path in filter(Path.exists, taken):
        raise refused(str(path), "is there already, and is left as it is.", "Name another: -o.")
    for one in plans:
        done = export(one)
        for name, text in done.files.items():
            write_new(one.run_dir / name, text)
        (one.run_dir / "train.sh").chmod(0o755)
        print_text(f"wrote {one.run_dir}: {', '.join(done.files)}")
        say(*(["It could not say:", *(f"  {line}" for line in done.lost)] if done.lost else []))
    say_next(f"{variable_of(args.to)}=DIR sh {plans[0].run_dir / 'train.sh'}")
    return 0
