"""Run one recipe, or several one after another.

examples:
  lorakit train recipes/maya.toml
  lorakit train recipes/maya.toml --set learning_rate=5e-5 --dry-run
  lorakit train recipes/maya.toml recipes/finn.toml --notify "mail -s done me@example.org"
  lorakit train recipes/maya.toml --json | tee events.ndjson
  lorakit train recipes/maya.toml --queue        # wait for the device; see lorakit queue

Ctrl-C ends the run in good order, a second Ctrl-C at once. Several recipes go on past a failed one.
exit codes: 0 every LoRA is intact, 1 a recipe or the machine is wrong, 4 a training failed, 130
stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit.cli.terminal.ending import STOPPED, say_outcome
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.recipe_arguments import add_override_arguments, recipe_path
from lorakit.cli.terminal.screen import PLAIN_EVERY_S, Bar, screen
from lorakit.errors import LorakitError, raise_on_errors
from lorakit.plan.model import Plan
from lorakit.proc import ask
from lorakit.runs.folder import new_run_dir
from lorakit.runs.opening import FolderTaken
from lorakit.runs.outcome import Outcome
from lorakit.show import duration, say, say_error, say_faults, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="a recipe file, or the bare name of one in recipes/",
    )
    add_override_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="the plan and nothing else")
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument(
        "--notify",
        metavar="CMD",
        help="a command to run at the end; LORAKIT_STATE and LORAKIT_RUNS say what happened",
    )
    parser.add_argument(
        "--queue",
        action="store_true",
        help="put the recipes into the queue instead; `lorakit queue run` trains them",
    )
    parser.add_argument(
        "--locked",
        action="store_true",
        help="refuse when anything differs from the recipe's lock; see lorakit lock",
    )
    parser.add_argument("--past-nan", action="store_true", help="go on when the loss becomes NaN")


@dataclass(frozen=True)
class Result:
    """One recipe's end: an outcome, or the error that kept it from starting."""

    recipe: Path
    code: int
    outcome: Outcome | None = None

    @property
    def state(self) -> str:
        return self.outcome.state if self.outcome else "not started"


def run(args: argparse.Namespace) -> int:
    if args.queue:
        put_into_queue(args.recipes, sets=args.sets, unsets=args.unsets)
        say_next("lorakit queue run")
        return 0
    if args.dry_run:
        return _dry_run(args)
    results: list[Result] = []
    for recipe in args.recipes:
        results.append(
            train_one(
                Path(recipe),
                sets=args.sets,
                unsets=args.unsets,
                as_json=args.json,
                past_nan=args.past_nan,
                locked=args.locked,
            )
        )
        if results[-1].code == STOPPED:
            break
    if len(args.recipes) > 1 and not args.json:
        summary(results)
    if args.notify:
        notify(args.notify, results)
    return code_of(results)


def train_one(
    recipe: Path,
    *,
    sets: list[str],
    unsets: list[str],
    as_json: bool = False,
    past_nan: bool = False,
    locked: bool = False,
    begun: Callable[[Path], None] | None = None,
) -> Result:
    """Plan and train one recipe, saying everything; `begun` gets the folder. Never raises for what
    belongs to the recipe or the run.
    """
    from lorakit.proof.lock import require_locked
    from lorakit.run.resume.stages import train_stages
    from lorakit.run.train import train

    try:
        while True:
            plans = plans_of(recipe, sets, unsets)
            faults = [fault for plan in plans for fault in plan.faults]
            raise_on_errors(faults)
            if provide_weights(plans[0], as_json=as_json):  # the stages share their weights
                continue  # what has just come is looked at before anything starts
            if locked:
                say(*(f"unlike the lock: {one}" for one in require_locked(*plans)))
            say_faults(fault for fault in faults if fault.severity == "warning")
            if begun:
                begun(plans[0].run_dir if len(plans) == 1 else plans[0].run_dir.parent)
            try:
                with screen(as_json=as_json) as emit:
                    if len(plans) == 1:
                        outcome = train(plans[0], emit=emit, past_nan=past_nan)
                    else:
                        outcome = train_stages(plans, emit=emit, past_nan=past_nan)
                break
            except FolderTaken:
                continue  # another start of the same second was quicker
    except LorakitError as error:
        say_error(error)
        return Result(recipe, error.exit_code)
    return Result(recipe, say_outcome(outcome), outcome)


def put_into_queue(recipes: Sequence[str], *, sets: list[str], unsets: list[str]) -> None:
    """All of them, or none where one has a fault."""
    from lorakit.run import queue

    plans = [plan for recipe in recipes for plan in plans_of(Path(recipe), sets, unsets)]
    faults = [fault for plan in plans for fault in plan.faults]
    raise_on_errors(faults)
    say_faults(fault for fault in dict.fromkeys(faults) if fault.severity == "warning")
    for recipe in recipes:
        item = queue.add(Path.cwd(), recipe_path(recipe), sets=sets, unsets=unsets)
        say(f"queued as {item.number}: {item.recipe}")


def provide_weights(plan: Plan, *, as_json: bool) -> bool:
    """Fetch what the recipe names by hf: and is not here; check files against the hashes it
    states. True: something came.
    """
    from lorakit.weights import fetch

    wanted = fetch.missing(plan.weights)
    if wanted or any(weight.sha256 for weight in plan.weights):
        with screen(as_json=as_json) as emit:
            every_s = 0.5 if isinstance(emit, Bar) else PLAIN_EVERY_S
            fetch.fetch_missing(plan.weights, emit, every_s=every_s)
            fetch.check_hashes(plan.weights, emit)
    return bool(wanted)


def plans_of(recipe: Path, sets: list[str], unsets: list[str]) -> tuple[Plan, ...]:
    """One plan, or one for each stage."""
    from lorakit.plan.make import make_plans
    from lorakit.recipe.resolve import resolve

    resolved, faults = resolve(recipe_path(str(recipe)), sets=sets, unsets=unsets)
    return make_plans(resolved, faults, run_dir=new_run_dir(resolved.root, resolved.name))


def summary(results: list[Result]) -> None:
    table(
        ("recipe", "state", "steps", "loss", "time", "run"),
        [(result.recipe, result.state, *_columns(result.outcome)) for result in results],
        right=("steps", "loss", "time"),
    )


def _columns(outcome: Outcome | None) -> tuple[str, str, str, str]:
    if outcome is None:
        return "-", "-", "-", "-"
    loss = "-" if outcome.ending.loss is None else f"{outcome.ending.loss:.4g}"
    return str(outcome.ending.step), loss, duration(outcome.ending.duration_s), str(outcome.run_dir)


def code_of(results: list[Result]) -> int:
    """Stopped wins, then a failed training, then a recipe that could not start."""
    codes = {result.code for result in results}
    return next((code for code in (STOPPED, 4, 3, 1) if code in codes), 0)


def notify(command: str, results: list[Result]) -> None:
    """The user's own command, split as a shell would but run without one; its failure is a remark,
    not ours.
    """
    env = {
        **os.environ,
        "LORAKIT_STATE": " ".join(result.state.replace(" ", "-") for result in results),
        "LORAKIT_RUNS": os.pathsep.join(
            str(result.outcome.run_dir) for result in results if result.outcome
        ),
    }
    try:
        words = shlex.split(command)
    except ValueError as error:
        say(f"--notify: {error}; it was not run.")
        return
    answer = ask(words, env=env, timeout_s=300) if words else None
    if answer is not None and answer.code:
        say(f"--notify: {words[0]} ended with {answer.code}. {answer.err.strip()}".rstrip())


def _dry_run(args: argparse.Namespace) -> int:
    from lorakit.cli.plan import plan_recipe
    from lorakit.recipe.resolve import resolve

    paths = [recipe_path(recipe) for recipe in args.recipes]
    read = (resolve(path, sets=args.sets, unsets=args.unsets) for path in paths)
    return max(plan_recipe(one, as_json=args.json) for one in read)
