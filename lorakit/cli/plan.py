"""Show everything that would happen: settings, images, steps, files, disk, memory, the command.
Nothing is started.

examples:
  lorakit plan recipes/maya.toml
  lorakit plan maya --set network_dim=16 --set max_train_epochs=4
  lorakit plan maya --json | jq .steps.total
  lorakit plan maya --write out/        train.toml, dataset.toml, prompts.toml ... and command.txt
  lorakit plan maya --folders           the command with train_data_dir instead of a dataset file
  lorakit plan maya --for rtx4090       does it fit that card? also cuda:24 (GB), mps:64, cpu
  lorakit plan maya --diff origin/main  what it says that it did not say in that commit
  lorakit plan recipes/maya.toml recipes/finn.toml --review       only faults, for a commit hook
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from lorakit import show
from lorakit.cli.terminal import recipe_arguments as recipe_args
from lorakit.cli.terminal.next_step import next_for_plan, say_next
from lorakit.cli.terminal.plan_page import show_plan
from lorakit.errors import Fault, LorakitError, raise_on_errors
from lorakit.files import write_new
from lorakit.machine import Machine, this_machine
from lorakit.plan.document import as_document, files_of
from lorakit.plan.make import make_plans
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve
from lorakit.runs.folder import new_run_dir
from lorakit.runs.pace import expected
from lorakit.trainers.table import trainer
from lorakit.user_files import read_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recipe_args.add_recipe_arguments(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="every setting, and the command itself"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--write", metavar="DIR", type=Path, help="write the run's files into this folder"
    )
    parser.add_argument(
        "--for",
        dest="machine",
        metavar="DEVICE",
        type=recipe_args.another_machine,
        help=(
            "plan for another machine: rtx4090, a100-80, t4 ..., cuda:24 (GB), cuda:24x2 (cards),"
            " mps:64, cpu; what is missing here is then only noted"
        ),
    )
    parser.add_argument(
        "--folders",
        dest="sets",
        action="append_const",
        const='dataset.mode="folders"',
        help="kohya's folder mode: train_data_dir instead of a dataset file",
    )
    parser.add_argument("--diff", metavar="REV", help="what changes against git's version")
    about = "of several recipes, faults alone; what is missing on this machine is none"
    parser.add_argument("--review", action="store_true", help=about)
    parser.add_argument("more", metavar="RECIPE", nargs="*", help="with --review")


def run(args: argparse.Namespace) -> int:
    if args.review:
        return _review([args.recipe, *args.more])
    if args.more:
        raise LorakitError("One recipe at a time; --review takes several.")
    if args.diff:
        return _diff(recipe_args.read(args), args)
    return plan_recipe(
        recipe_args.read(args),
        as_json=args.json,
        machine=args.machine,
        write=args.write,
        typed=recipe_args.as_typed(args),
        verbose=args.verbose,
    )


def plan_recipe(
    read: tuple[Resolved, tuple[Fault, ...]],
    *,
    as_json: bool,
    machine: Machine | None = None,
    write: Path | None = None,
    typed: str = "",
    verbose: bool = False,
) -> int:
    """Also what `lorakit train --dry-run` shows."""
    resolved, faults = read
    here, machine = machine is None, machine or this_machine()
    run_dir = write or new_run_dir(resolved.root, resolved.name)
    plans = make_plans(resolved, faults, run_dir=run_dir, machine=machine)
    found = dict.fromkeys(fault for plan in plans for fault in plan.faults)
    if as_json:
        documents = [{**as_document(one), "time": expected(one, machine)} for one in plans]
        show.print_json(documents[0] if len(documents) == 1 else documents)
    else:
        for plan in plans:
            show_plan(plan, expected(plan, machine), verbose=verbose)
        show.say_faults(fault for fault in found if fault.severity != "error")
    raise_on_errors([fault for fault in found if fault.severity == "error"])
    if typed and here and not as_json:
        say_next(*next_for_plan(plans[0], typed))
    if write:
        for one in plans:  # command.txt counts on what the trainer finds on the disk
            trainer(resolved.trainer).prepare(one.work)
        _write({one.run_dir / name: text for one in plans for name, text in files_of(one).items()})
    return 0


def _diff(read: tuple[Resolved, tuple[Fault, ...]], args: argparse.Namespace) -> int:
    from lorakit.proof.plan_diff import changes_since

    resolved, faults = read
    machine = args.machine or this_machine()
    run_dir = new_run_dir(resolved.root, resolved.name)
    plans = make_plans(resolved, faults, run_dir=run_dir, machine=machine)
    found = list(dict.fromkeys(fault for plan in plans for fault in plan.faults))
    changes = changes_since(args.diff, resolved, plans, machine)
    if args.json:
        document = {
            "schema": "lorakit.plan-diff/1",
            "recipe": resolved.file.relative_to(resolved.root).as_posix(),
            "against": args.diff,
            "new": changes is None,
            "changes": {
                section: list(map(vars, rows)) for section, rows in (changes or {}).items()
            },
            "steps": sum(plan.steps.total for plan in plans),
            "formula": plans[0].steps.formula,
            "verdict": plans[0].verdict,
            "faults": found,
        }
        show.print_json(document)
    elif changes is None:
        show.say(f"{resolved.file.name} is not in {args.diff}: everything is new.")
    for section, rows in (changes or {}).items() if not args.json else ():
        show.print_text(f"{section}:", *(f"\n  {one}" for one in rows), sep="")
    if changes == {} and not args.json:
        show.say(f"The plan is as in {args.diff}.")
    raise_on_errors([fault for fault in found if fault.severity == "error"])
    say_next(f"lorakit train {recipe_args.as_typed(args)}")
    return 0


def _review(recipes: list[str]) -> int:
    """Recipes and locks as a commit holds them; a lock stands for its recipe."""
    from lorakit.proof.plan_diff import stale_lock

    faults: list[Fault] = []
    machine = replace(this_machine(), elsewhere=True)
    paths = [Path(one.replace(".lock.toml", ".toml")) for one in recipes]
    for path in dict.fromkeys(paths):
        try:
            resolved, read = resolve(recipe_args.recipe_path(str(path)))
        except LorakitError as error:
            faults += error.faults or [Fault(str(path), error.message, error.hint)]
            continue
        plans = make_plans(resolved, read, run_dir=resolved.root / "runs" / "r", machine=machine)
        faults += [fault for plan in plans for fault in plan.faults]
        faults += stale_lock(plans)
        show.say(f"{path}: {sum(plan.steps.total for plan in plans)} steps")
    show.say_faults(one for one in dict.fromkeys(faults) if one.severity == "warning")
    raise_on_errors([one for one in dict.fromkeys(faults) if one.severity == "error"])
    return 0


def _write(files: dict[Path, str]) -> None:
    what, hint = "is there already, and is left as it is.", "Name a new folder."
    raise_on_errors(
        [
            Fault(str(path), what, hint, "write-exists")
            for path, text in files.items()
            if os.path.lexists(path) and read_bytes(path) != text.encode()
        ]
    )
    for path, text in files.items():
        if not os.path.lexists(path):
            write_new(path, text)
        show.say(f"wrote {path}")
