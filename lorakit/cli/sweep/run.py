"""Train the points of a sweep: one after another through the queue, or as a job array on a cluster.

lorakit sweep run maya-sweep
lorakit sweep run maya-sweep --halving         # at 25 and 50 % the worst third is stopped
lorakit sweep run maya-sweep --halving --rungs 20,40,60
lorakit sweep run maya-sweep --on slurm --sbatch "--partition=gpu --gres=gpu:1 --time=4:00:00"
lorakit sweep run maya-sweep --on sky --bucket my-loras
lorakit sweep run maya-sweep --on ssh:pod                # as lorakit remote ssh:pod train
lorakit sweep run maya-search --at-once 4 --on slurm     # of a search: what waits at a time
lorakit sweep run maya-sweep --only maya-sweep-03       # what a task of the array does

What is done is not trained again, what was cut off goes on, and a point that somebody else has
queued already is left to them. --halving compares held-out losses where every point has one, and
mean training losses otherwise; each decision is kept in the sweep's folder (rung-1.json).
On Slurm a task that is requeued after a preemption goes on from its newest whole state.
exit codes: as for lorakit queue run.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from lorakit.cli.queue import run as queue_run
from lorakit.cli.remote import push_and_train
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.ending import STOPPED, resumed, say_outcome
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import screen
from lorakit.cli.train import provide_weights, tasks_for_sky, train_one
from lorakit.engines import halving
from lorakit.engines import sweep as sweeps
from lorakit.engines.pod import Pod
from lorakit.engines.search import ENDED, ask_points
from lorakit.engines.slurm import submit
from lorakit.errors import LorakitError, counted, raise_on_errors
from lorakit.machine import this_machine
from lorakit.run import queue
from lorakit.runs.opening import plans_now
from lorakit.show import say, say_faults


def add_arguments(parser: Parser) -> None:
    parser.sweep()
    parser.flag("--halving", "stop the worst third at each rung")
    about = "where to compare, in percent of the steps (default: 25,50)"
    parser.value("--rungs", "P,...", about, type=_rungs, default=())
    parser.value("--on", "PLACE", "slurm, sky or ssh:HOST; here, where nothing is said")
    parser.value("--sbatch", "WORDS", "sbatch's options, with --on slurm")
    parser.value("--bucket", "NAME", "where results go, with --on sky: a task file for each point")
    parser.number("--at-once", "N", "of a search: points at a time (default: 1)", default=1)
    parser.value("--only", "POINT", "one point: begin it, or go on with it")
    queue_run.add_arguments(parser)


def _rungs(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(one) / 100 for one in text.split(","))
    except ValueError:
        shares = ()
    if not shares or sorted({*shares}) != list(shares) or not 0 < shares[0] <= shares[-1] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not rising percentages, such as 25,50")
    return shares


def run(args: Arguments) -> int:
    folder, sweep, results = sweeps.sweep_named(args.sweep)
    faults = sweeps.edited(folder, sweep)
    raise_on_errors(faults)
    say_faults(faults)
    if args.only:
        return _one(folder, [one for one in results if one.point.name == args.only], args)
    if (args.halving or args.rungs) and (sweep.search or args.on):
        why = "A search asks for its points one after another" if sweep.search else ""
        raise LorakitError(f"{why or '--halving decides on this machine'}; there are no rungs.")
    results = sweeps.results_of(folder.parents[1], sweep := ask_points(folder, args.at_once))
    for one in results:
        if one.state == "failed":
            say(f"{one.point.name} has failed; lorakit explain {one.point.name} says why")
    if args.on == "slurm":
        _on_slurm(folder, sweep, results, args)
        return 0
    new = [str(folder / one.point.file) for one in results if one.state == "not started"]
    if args.on == "sky":
        tasks_for_sky(new, args.bucket)
        return 0
    if args.on:
        return push_and_train(Pod.named(args.on), "train", new) if new else 0
    if args.halving or args.rungs:
        return _halved(folder, sweep, args)
    code, before = 0, -1
    while code != STOPPED and before < (ended := sum(one.state in ENDED for one in results)):
        before = ended
        code = max(code, _here(folder, results, args))
        results = sweeps.results_of(folder.parents[1], ask_points(folder, args.at_once))
    say_next(f"lorakit sweep table {sweep.name}")
    return code


def _here(folder: Path, results: list[sweeps.PointResult], args: Arguments) -> int:
    """What was cut off goes on, and what nobody has begun goes through the queue."""
    code = 0
    for one in results:
        if one.state in halving.GOES_ON and one.run_dir:
            say(f"{one.point.name} goes on from step {one.step}")
            code = max(code, resumed(one.run_dir, as_json=args.json))
            if code == STOPPED:
                return code
    waiting = [one.point for one in results if one.state == "not started"]
    sweeps.require_plannable(folder, waiting, this_machine())
    for point in waiting:
        item = queue.add(Path.cwd(), folder / point.file, once=True)
        say(f"queued as {item.number}: {item.recipe}")
    return max(code, queue_run.run(args) if waiting else 0)


def _on_slurm(
    folder: Path, sweep: sweeps.Sweep, results: list[sweeps.PointResult], args: Arguments
) -> None:
    todo = [one.point for one in results if one.state in {"not started", *halving.GOES_ON}]
    if todo:  # a login node is another machine than those that train
        sweeps.require_plannable(folder, todo, replace(this_machine(), elsewhere=True))
        job = submit(folder.parents[1], folder, sweep, todo, args.sbatch)
        say(f"job {job}: {counted(len(todo), 'point')}; logs in {folder / 'slurm'}")
        say(f"scancel {job} ends it in good order; what is requeued goes on by itself.")
    say_next(f"lorakit sweep {'status' if todo else 'table'} {sweep.name}")


def _one(folder: Path, found: list[sweeps.PointResult], args: Arguments) -> int:
    """Begin the point, or go on with it however it ended; one that is done stays so."""
    if not found:
        hint = f"lorakit sweep status {folder.name} lists them."
        raise LorakitError(f"{folder.name} has no point {args.only!r}.", hint=hint)
    (one,) = found
    if one.state == "done":
        say(f"{one.point.name} is done already.")
        return 0
    if one.run_dir and one.state != "failed":
        how = {"as_json": args.json, "resumes": halving.GOES_ON}
        if outcome := queue_run.go_on(one.run_dir, **how):
            return say_outcome(outcome)
    return train_one(folder / one.point.file, as_json=args.json).code


def _halved(folder: Path, sweep: sweeps.Sweep, args: Arguments) -> int:
    """Every point to the first rung, the better two thirds to the next, and so on."""
    halving.require_resumable(folder / sweep.points[0].file)
    keys = {key.rpartition(".")[2] for key in sweep.keys}
    if unlike := sorted(keys & halving.OTHER_LOSS):
        what = "changes what a training loss measures; compare with care."
        say(f"warning: {', '.join(unlike)} {what}")
    alive, code = {one.name for one in sweep.points}, 0

    def results() -> list[sweeps.PointResult]:
        every = sweeps.results_of(folder.parents[1], sweep)
        return [one for one in every if one.point.name in alive]

    for number, share in enumerate((*(args.rungs or halving.RUNGS), 1.0), 1):
        for one in results():
            say(f"{one.point.name}: to {share:.0%} of the steps")
            recipe = folder / one.point.file
            if one.run_dir is None:
                provide_weights(plans_now(recipe)[0], as_json=args.json)
            with screen(as_json=args.json) as emit:
                outcome = halving.train_to(recipe, one, share, emit)
            if outcome is None or outcome.state == "stopped":
                continue
            code = max(code, said := say_outcome(outcome))
            if said == STOPPED:
                return STOPPED
        if share < 1:
            rung = halving.decide(folder, number, share, results())
            alive &= {*rung.kept}
            say(f"rung {number}, by {rung.measure}: {', '.join(rung.stopped) or 'none'} stopped")
    say_next(f"lorakit sweep table {sweep.name}")
    return code
