"""A folder that trains a recipe without lorakit: config, dataset config, shell script.

lorakit export recipes/maya.toml --to kohya              writes exports/maya/
lorakit export maya --to kohya -o ~/handover --set max_train_epochs=4

Paths below the project are relative, so the project moves as a whole. What could not be expressed
is listed. `lorakit import exports/maya` makes the same plan of it again.
"""

import shutil
from dataclasses import replace

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import read
from lorakit.cli.terminal.next_step import say_next
from lorakit.config import CHECKOUTS
from lorakit.errors import did_you_mean, raise_on_errors, refused
from lorakit.exchange.export import export, variable_of
from lorakit.files import write_new
from lorakit.machine import this_machine
from lorakit.plan.make import faults_of, make_plans
from lorakit.show import print_text, say
from lorakit.trainers.tokenizers import ensure


def add_arguments(parser: Parser) -> None:
    parser.recipe()
    parser.value("--to", "TRAINER", f"whose files: {', '.join(CHECKOUTS)}", required=True)
    parser.path("-o --out", "DIR", "default: exports/NAME")
    parser.machine("--for", "DEVICE", "plan for another machine, as `lorakit plan --for`")


def run(args: Arguments) -> None:
    if args.to not in CHECKOUTS:
        what = f"lorakit cannot write what {args.to!r} reads; it can for {', '.join(CHECKOUTS)}."
        raise refused("--to", what, did_you_mean(args.to, CHECKOUTS))
    args.sets.append(f"trainer={args.to}")
    resolved, faults = read(args)
    out = args.out or resolved.root / "exports" / resolved.name
    machine = args.machine or replace(this_machine(), elsewhere=True)
    plans = make_plans(resolved, faults, run_dir=out, machine=machine)
    raise_on_errors(faults_of(plans))
    exports = [(one.run_dir, export(one)) for one in plans]
    paths = [folder / name for folder, done in exports for name in (*done.files, *done.folders)]
    if path := next((one for one in paths if one.exists()), None):
        raise refused(str(path), "is there already, and is left as it is.", "Name another: -o.")
    for folder, done in exports:
        for name, text in done.files.items():
            write_new(folder / name, text)
        for name, ids in done.folders.items():
            shutil.copytree(ensure(ids), folder / name)
        (folder / "train.sh").chmod(0o755)
        print_text(f"wrote {folder}: {', '.join((*done.files, *done.folders))}")
        if done.lost:
            say("It could not say:", *(f"  {line}" for line in done.lost))
    say_next(f"{variable_of(args.to)}=DIR sh {plans[0].run_dir / 'train.sh'}")
