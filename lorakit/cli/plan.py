"""Show everything that would happen: settings, images, steps, files, disk, memory, the command.
Nothing is started.

lorakit plan recipes/maya.toml
lorakit plan maya --set network_dim=16 --set max_train_epochs=4
lorakit plan maya --json | jq .steps.total
lorakit plan maya --write out/        train.toml, dataset.toml, prompts.toml ... and command.txt
lorakit plan maya --folders           the command with train_data_dir instead of a dataset file
lorakit plan maya --for rtx4090       does it fit that card? also cuda:24 (GB), mps:64, cpu
lorakit plan maya --diff origin/main  what it says that it did not say in that commit
lorakit plan recipes/maya.toml recipes/finn.toml --review       only faults, for a commit hook
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import as_typed, read, recipe_path
from lorakit.cli.terminal.next_step import next_for_plan, say_next
from lorakit.cli.terminal.plan_page import show_plan
from lorakit.errors import Fault, LorakitError, raise_on_errors
from lorakit.files import write_new
from lorakit.machine import Machine, this_machine
from lorakit.plan.document import as_document, files_of
from lorakit.plan.make import faults_of, make_plans
from lorakit.plan.model import Plan
from lorakit.recipe.model import Resolved
from lorakit.runs.folder import new_run_dir
from lorakit.runs.pace import expected
from lorakit.show import print_json, print_text, say, say_faults
from lorakit.trainers.table import trainer
from lorakit.user_files import read_bytes


def add_arguments(parser: Parser) -> None:
    parser.recipe()
    parser.flag("-v --verbose", "every setting, and the command itself")
    parser.json("one JSON document on stdout")
    parser.path("--write", "DIR", "write the run's files into this folder")
    about = "plan for another machine: rtx4090, a100-80, t4 ..., cuda:24 (GB), cuda:24x2 (cards),"
    about += " mps:64, cpu; what is missing here is then only noted"
    parser.machine("--for", "DEVICE", about)
    about = "kohya's folder mode: train_data_dir instead of a dataset file"
    mode = 'dataset.mode="folders"'
    parser.add_argument("--folders", help=about, dest="sets", action="append_const", const=mode)
    parser.value("--diff", "REV", "what changes against git's version")
    about = "of several recipes, faults alone; what is missing on this machine is none"
    parser.flag("--review", about)
    parser.value("more", "RECIPE", "with --review", nargs="*")


def run(args: Arguments) -> None:
    if args.more and not args.review:
        raise LorakitError("One recipe at a time; --review takes several.")
    if args.review:
        _review([args.recipe, *args.more])
        return
    machine = args.machine or this_machine()
    resolved, faults = read(args)
    run_dir = args.write or new_run_dir(resolved.root, resolved.name)
    plans = make_plans(resolved, faults, run_dir=run_dir, machine=machine)
    if args.diff:
        _diff(resolved, plans, machine, args)
        return
    show_plans(plans, machine, as_json=args.json, verbose=args.verbose)
    if not args.machine and not args.json:
        say_next(*next_for_plan(plans[0], as_typed(args)))
    if args.write:
        _write(plans)


def show_plans(
    plans: Sequence[Plan], machine: Machine, *, as_json: bool, verbose: bool = False
) -> None:
    """Also what `lorakit train --dry-run` shows. Raises for errors, having shown all the same."""
    if as_json:
        documents = [{**as_document(one), "time": expected(one, machine)} for one in plans]
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        for plan in plans:
            show_plan(plan, expected(plan, machine), verbose=verbose)
        say_faults(fault for fault in faults_of(plans) if fault.severity != "error")
    _refuse(faults_of(plans))


def _refuse(faults: Iterable[Fault]) -> None:
    """For the errors among them alone: the rest has been said."""
    raise_on_errors([fault for fault in faults if fault.severity == "error"])


def _diff(resolved: Resolved, plans: Sequence[Plan], machine: Machine, args: Arguments) -> None:
    from lorakit.proof.plan_diff import changes_since

    changes = changes_since(args.diff, resolved, plans, machine)
    if args.json:
        print_json(
            {
                "schema": "lorakit.plan-diff/1",
                "recipe": resolved.file.relative_to(resolved.root).as_posix(),
                "against": args.diff,
                "new": changes is None,
                "changes": {name: list(map(vars, rows)) for name, rows in (changes or {}).items()},
                "steps": sum(plan.steps.total for plan in plans),
                "formula": plans[0].steps.formula,
                "verdict": plans[0].verdict,
                "faults": faults_of(plans),
            }
        )
    elif changes is None:
        say(f"{resolved.file.name} is not in {args.diff}: everything is new.")
    elif not changes:
        say(f"The plan is as in {args.diff}.")
    else:
        for section, rows in changes.items():
            print_text(f"{section}:", *rows, sep="\n  ")
    _refuse(faults_of(plans))
    say_next(f"lorakit train {as_typed(args)}")


def _review(recipes: list[str]) -> None:
    """Recipes and locks as a commit holds them; a lock stands for its recipe."""
    from lorakit.proof.plan_diff import stale_lock
    from lorakit.runs.opening import plans_now

    faults: list[Fault] = []
    machine = replace(this_machine(), elsewhere=True)
    for name in dict.fromkeys(one.replace(".lock.toml", ".toml") for one in recipes):
        try:
            plans = plans_now(recipe_path(name), machine=machine)
        except LorakitError as error:
            faults += error.faults or [Fault(name, error.message, error.hint)]
            continue
        faults += [*faults_of(plans), *stale_lock(plans)]
        say(f"{name}: {sum(plan.steps.total for plan in plans)} steps")
    faults = list(dict.fromkeys(faults))
    say_faults(one for one in faults if one.severity == "warning")
    _refuse(faults)


def _write(plans: Iterable[Plan]) -> None:
    for plan in plans:  # command.txt counts on what the trainer finds on the disk
        trainer(plan.resolved.trainer).prepare(plan.work)
    files = {one.run_dir / name: text for one in plans for name, text in files_of(one).items()}
    what, hint = "is there already, and is left as it is.", "Name a new folder."
    there = [path for path in files if os.path.lexists(path)]
    unlike = [path for path in there if read_bytes(path) != files[path].encode()]
    raise_on_errors([Fault(str(path), what, hint, "write-exists") for path in unlike])
    for path, text in files.items():
        if path not in there:
            write_new(path, text)
        say(f"wrote {path}")
