"""Pin everything a recipe's result depends on, in recipes/NAME.lock.toml, for git.

examples:
  lorakit lock recipes/maya.toml            # write or renew the lock; says what changed
  lorakit train recipes/maya.toml --locked  # refuses if anything differs
  lorakit verify recipes/maya.lock.toml     # hashes again and names every difference
"""

from __future__ import annotations

import argparse

from lorakit.cli.terminal.recipe_arguments import add_recipe_arguments, read
from lorakit.errors import counted, raise_on_errors
from lorakit.files import write_atomic
from lorakit.plan.make import make_plans
from lorakit.proof.lock import compare_locks, lock_of_all, lock_path, made_from, read_lock, text_of
from lorakit.show import print_json, print_text, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change, write nothing"
    )
    parser.add_argument("--json", action="store_true", help="the lock as one JSON document")


def run(args: argparse.Namespace) -> int:
    resolved, faults = read(args)
    plans = make_plans(resolved, faults, run_dir=resolved.root / "runs" / "lock")
    raise_on_errors([fault for plan in plans for fault in plan.faults])
    lock, path = lock_of_all(plans), lock_path(resolved.file)
    lock |= made_from(plans[0], lock["dataset"]["digest"])
    if args.json:
        print_json(lock)
    if path.exists():
        inputs, around = compare_locks(read_lock(path), lock)
        for one in [*inputs, *around]:
            print_text(one)
        if not inputs and not around:
            say("Nothing changed since the old lock.")
    if not args.dry_run:
        write_atomic(path, text_of(lock))
        say(
            f"wrote {path}: {counted(lock['dataset']['images'], 'image')},"
            f" {counted(len(lock['weights']), 'file')} of weights,"
            f" {counted(len(lock['options']), 'option')}"
        )
    return 0
