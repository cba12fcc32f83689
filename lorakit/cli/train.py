"""Run one recipe, or several one after another.

lorakit train recipes/maya.toml
lorakit train recipes/maya.toml --set learning_rate=5e-5 --dry-run
lorakit train recipes/maya.toml recipes/finn.toml --notify "mail -s done me@example.org"
lorakit train recipes/maya.toml --json | tee events.ndjson
lorakit train recipes/maya.toml --queue        # wait for the device; see lorakit queue
lorakit train recipes/maya.toml --on ssh:pod   # as lorakit remote ssh:pod train
lorakit train recipes/maya.toml --on sky --bucket my-loras   # a task for SkyPilot, launched by you

Ctrl-C ends the run in good order, a second Ctrl-C at once. Several recipes go on past a failed one.
exit codes: 0 every LoRA is intact, 1 a recipe or the machine is wrong, 4 a training failed, 130
stopped.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit.cli.plan import show_plans
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.ending import STOPPED, say_outcome
from lorakit.cli.terminal.meant import recipe_path
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import PLAIN_EVERY_S, Bar, screen
from lorakit.errors import LorakitError, raise_on_errors
from lorakit.files import below
from lorakit.machine import machine_named, this_machine
from lorakit.plan.make import faults_of
from lorakit.plan.model import Plan
from lorakit.proc import ask
from lorakit.proof.lock import require_locked
from lorakit.run import queue
from lorakit.run.resume.stages import train_stages
from lorakit.run.train import train
from lorakit.runs.opening import FolderTaken, plans_now
from lorakit.runs.outcome import Outcome
from lorakit.show import duration, say, say_error, say_faults, table
from lorakit.weights import fetch


def add_arguments(parser: Parser) -> None:
    parser.recipes()
    parser.flag("--dry-run", "the plan and nothing else")
    parser.json("events as JSON lines on stdout")
    about = "a command to run at the end; LORAKIT_STATE and LORAKIT_RUNS say what happened"
    parser.value("--notify", "CMD", about)
    about = "put the recipes into the queue instead; `lorakit queue run` trains them"
    parser.flag("--queue", about)
    parser.flag("--locked", "refuse when anything differs from the recipe's lock; see lorakit lock")
    parser.value("--on", "PLACE", "elsewhere: ssh:HOST, or sky for a task file of SkyPilot")
    parser.value("--bucket", "NAME", "with --on sky: where the results go")
    parser.flag("--past-nan", "go on when the loss becomes NaN")


@dataclass(frozen=True)
class Result:
    """One recipe's end: an outcome, or the error that kept it from starting."""

    recipe: Path
    code: int
    outcome: Outcome | None = None

    @property
    def state(self) -> str:
        return self.outcome.state if self.outcome else "not started"


def run(args: Arguments) -> int:
    if args.on == "sky":
        tasks_for_sky(args.recipes, args.bucket, args.sets, args.unsets)
        return 0
    if args.on:
        from lorakit.cli.remote import push_and_train
        from lorakit.engines.pod import Pod

        words = [*args.recipes, *(f"--set={one}" for one in args.sets)]
        words += [f"--unset={one}" for one in args.unsets]
        words += ["--locked"] * args.locked + ["--past-nan"] * args.past_nan
        return push_and_train(Pod.named(args.on), "train", words)
    if args.queue:
        put_into_queue(args.recipes, args.sets, args.unsets)
        return 0
    if args.dry_run:
        for recipe in args.recipes:
            plans = plans_now(recipe_path(recipe), args.sets, args.unsets)
            show_plans(plans, this_machine(), as_json=args.json)
        return 0
    how = {"as_json": args.json, "past_nan": args.past_nan, "locked": args.locked}
    results: list[Result] = []
    for recipe in map(Path, args.recipes):
        results.append(train_one(recipe, sets=args.sets, unsets=args.unsets, **how))
        if results[-1].code == STOPPED:
            break
    return say_end(results, args, several=len(args.recipes) > 1)


def train_one(
    recipe: Path,
    *,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    as_json: bool = False,
    past_nan: bool = False,
    locked: bool = False,
    begun: Callable[[Path], None] = lambda _: None,
) -> Result:
    """Plan and train, saying everything; `begun` gets the folder. Raises only for our own bugs."""
    try:
        while True:
            plans = plans_now(recipe_path(str(recipe)), sets, unsets)
            faults = faults_of(plans)
            raise_on_errors(faults)
            if provide_weights(plans[0], as_json=as_json):  # the stages share their weights
                continue  # what has just come is looked at before anything starts
            if locked:
                say(*(f"unlike the lock: {one}" for one in require_locked(*plans)))
            say_faults(fault for fault in faults if fault.severity == "warning")
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


def tasks_for_sky(
    recipes: Sequence[str], bucket: str, sets: Sequence[str] = (), unsets: Sequence[str] = ()
) -> None:
    """One for each, written when all of them can be planned."""
    from lorakit.engines.pod import stays_here
    from lorakit.engines.sky import write_task

    machine = machine_named("cuda:80")
    planned = [plans_now(recipe_path(one), sets, unsets, machine=machine) for one in recipes]
    raise_on_errors(faults_of(plan for plans in planned for plan in plans))
    for plans in planned:
        file = below(write_task(plans[0], bucket), Path.cwd())
        name = plans[0].resolved.name
        say(*stays_here(plans[0]))
        say_next(f"sky jobs launch -n {name} {shlex.quote(file)}", "this rents a machine")


def put_into_queue(recipes: Sequence[str], sets: list[str], unsets: list[str]) -> None:
    """All of them, or none where one has a fault."""
    planned = (plans_now(recipe_path(one), sets, unsets) for one in recipes)
    faults = faults_of(plan for plans in planned for plan in plans)
    raise_on_errors(faults)
    say_faults(fault for fault in faults if fault.severity == "warning")
    for recipe in recipes:
        item = queue.add(Path.cwd(), recipe_path(recipe), sets=sets, unsets=unsets)
        say(f"queued as {item.number}: {item.recipe}")
    say_next("lorakit queue run")


def provide_weights(plan: Plan, *, as_json: bool) -> bool:
    """Fetch what hf: names and is not here; check stated hashes. True: something came."""
    wanted = fetch.missing(plan.weights)
    if wanted or any(weight.sha256 for weight in plan.weights):
        with screen(as_json=as_json) as emit:
            every_s = 0.5 if isinstance(emit, Bar) else PLAIN_EVERY_S
            fetch.fetch_missing(plan.weights, emit, every_s=every_s)
            fetch.check_hashes(plan.weights, emit)
    return bool(wanted)


def say_end(results: list[Result], args: Arguments, *, several: bool = True) -> int:
    """A table, the user's command, the exit code: stopped wins, then failed, then not started."""
    if several and not args.json:
        columns = ("recipe", "state", "steps", "loss", "time", "run")
        table(columns, map(_cells, results), right=("steps", "loss", "time"))
    if args.notify:
        _notify(args.notify, results)
    codes = {result.code for result in results}
    return next((code for code in (STOPPED, 4, 3, 1) if code in codes), 0)


def _cells(result: Result) -> tuple[object, ...]:
    outcome = result.outcome
    if outcome is None:
        return result.recipe, result.state, "-", "-", "-", "-"
    loss = "-" if outcome.ending.loss is None else f"{outcome.ending.loss:.4g}"
    took = duration(outcome.ending.duration_s)
    return result.recipe, result.state, outcome.ending.step, loss, took, outcome.run_dir


def _notify(command: str, results: list[Result]) -> None:
    """Split as a shell would but run without one; its failure is a remark, not ours."""
    runs = [str(result.outcome.run_dir) for result in results if result.outcome]
    env = {
        **os.environ,
        "LORAKIT_STATE": " ".join(result.state.replace(" ", "-") for result in results),
        "LORAKIT_RUNS": os.pathsep.join(runs),
    }
    try:
        words = shlex.split(command)
    except ValueError as error:
        say(f"--notify: {error}; it was not run.")
        return
    answer = ask(words, env=env, timeout_s=300) if words else None
    if answer is not None and answer.code:
        say(f"--notify: {words[0]} ended with {answer.code}. {answer.err.strip()}".rstrip())
