"""Train the points of a sweep: one after another through the queue, or as a job array on a cluster.

examples:
  lorakit sweep run maya-sweep
  lorakit sweep run maya-sweep --halving         # at 25 and 50 % the worst third is stopped
  lorakit sweep run maya-sweep --halving --rungs 20,40,60
  lorakit sweep run maya-sweep --on slurm --sbatch "--partition=gpu --gres=gpu:1 --time=4:00:00"
  lorakit sweep run maya-sweep --only maya-sweep-03       # what a task of the array does

What is done is not trained again, what was cut off goes on, and a point that somebody else has
queued already is left to them. --halving compares held-out losses where every point has one, and
mean training losses otherwise; each decision is kept in the sweep's folder (rung-1.json).
On Slurm a task that is requeued after a preemption goes on from its newest whole state.
exit codes: as for lorakit queue run.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.cli.queue import run as queue_run
from lorakit.cli.terminal.ending import STOPPED, say_outcome
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import screen
from lorakit.errors import LorakitError, counted, raise_on_errors
from lorakit.machine import this_machine
from lorakit.show import say, say_faults

if TYPE_CHECKING:
    from lorakit.engines.sweep import PointResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sweep", nargs="?", default="", metavar="NAME", help="a sweep (default: the newest)")
    add("--halving", action="store_true", help="stop the worst third at each rung")
    about = "where to compare, in percent of the steps (default: 25,50)"
    add("--rungs", type=_rungs, default=(), metavar="P,...", help=about)
    add("--on", choices=("local", "slurm"), default="local", help="where (default: local)")
    add("--sbatch", default="", metavar="WORDS", help="sbatch's options, with --on slurm")
    add("--only", default="", metavar="POINT", help="one point: begin it, or go on with it")
    queue_run.add_arguments(parser)


def _rungs(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(one) / 100 for one in text.split(","))
    except ValueError:
        shares = ()
    if not shares or sorted({*shares}) != list(shares) or not 0 < shares[0] <= shares[-1] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not rising percentages, such as 25,50")
    return shares


def run(args: argparse.Namespace) -> int:
    from lorakit.engines.halving import GOES_ON
    from lorakit.engines.sweep import edited, find_sweep, read_sweep, require_plannable, results_of
    from lorakit.run import queue

    folder = find_sweep(args.sweep, Path.cwd()).absolute()
    sweep = read_sweep(folder)
    faults = edited(folder, sweep)
    raise_on_errors(faults)
    say_faults(faults)
    results = results_of(folder.parents[1], sweep)
    for one in results:
        if one.state == "failed" and not args.only:
            say(f"{one.point.name} has failed; lorakit explain {one.point.name} says why")
    if args.only:
        return _one(folder, [one for one in results if one.point.name == args.only], args)
    if args.on == "slurm":
        return _on_slurm(folder, results, args)
    if args.halving or args.rungs:
        return _halved(folder, args)
    code = 0
    for one in results:
        if one.state in GOES_ON and one.run_dir and code != STOPPED:
            say(f"{one.point.name} goes on from step {one.step}")
            code = max(code, _resumed(one.run_dir, as_json=args.json))
    if code == STOPPED:
        return code
    waiting = [one.point for one in results if one.state == "not started"]
    require_plannable(folder, waiting, this_machine())
    for point in waiting:
        item = queue.add(Path.cwd(), folder / point.file, once=True)
        say(f"queued as {item.number}: {item.recipe}")
    code = max(code, queue_run.run(args) if waiting else 0)
    say_next(f"lorakit sweep table {shlex.quote(sweep.name)}")
    return code


def _on_slurm(folder: Path, results: list[PointResult], args: argparse.Namespace) -> int:
    from lorakit.engines.halving import GOES_ON
    from lorakit.engines.slurm import submit
    from lorakit.engines.sweep import read_sweep, require_plannable

    if args.halving or args.rungs:
        raise LorakitError("--halving decides on this machine; a job array has no rungs yet.")
    sweep = read_sweep(folder)
    todo = [one.point for one in results if one.state in {"not started", *GOES_ON}]
    if todo:  # a login node is another machine than those that train
        require_plannable(folder, todo, replace(this_machine(), elsewhere=True))
        job = submit(folder.parents[1], folder, sweep, todo, args.sbatch)
        say(f"job {job}: {counted(len(todo), 'point')}; logs in {folder / 'slurm'}")
        say(f"scancel {job} ends it in good order; what is requeued goes on by itself.")
    say_next(f"lorakit sweep {'status' if todo else 'table'} {shlex.quote(sweep.name)}")
    return 0


def _one(folder: Path, found: list[PointResult], args: argparse.Namespace) -> int:
    """Begin the point, or go on with it however it ended; one that is done stays so."""
    from lorakit.cli.train import train_one

    if not found:
        hint = f"lorakit sweep status {folder.name} lists them."
        raise LorakitError(f"{folder.name} has no point {args.only!r}.", hint=hint)
    (one,) = found
    if one.state == "done":
        say(f"{one.point.name} is done already.")
        return 0
    if one.run_dir and one.state in {"interrupted", "stopped"}:
        try:
            return _resumed(one.run_dir, as_json=args.json)
        except LorakitError as error:
            say(f"{one.point.name} begins anew: {error.message}")
    elif one.run_dir and one.state != "failed":
        outcome = queue_run.go_on(one.run_dir, as_json=args.json)
        if outcome is not None:
            return say_outcome(outcome)
    return train_one(folder / one.point.file, sets=[], unsets=[], as_json=args.json).code


def _resumed(run_dir: Path, *, as_json: bool) -> int:
    from lorakit.run.resume.stages import resume_run

    with screen(as_json=as_json) as emit:
        outcome = resume_run(run_dir, emit=emit)
    return say_outcome(outcome)


def _halved(folder: Path, args: argparse.Namespace) -> int:
    """Every point to the first rung, the better two thirds to the next, and so on."""
    from lorakit.cli.train import provide_weights
    from lorakit.engines.halving import (
        OTHER_LOSS,
        RUNGS,
        cannot_halve,
        decide,
        plan_of_point,
        train_to,
    )
    from lorakit.engines.points import varied_keys
    from lorakit.engines.sweep import read_sweep, results_of

    sweep, root = read_sweep(folder), folder.parents[1]
    first = plan_of_point(folder / sweep.points[0].file)
    raise_on_errors([*first.faults, *cannot_halve([first], sweep.points[0].file)])
    keys = {key.rpartition(".")[2] for key in varied_keys([one.settings for one in sweep.points])}
    if unlike := sorted(keys & OTHER_LOSS):
        what = "changes what a training loss measures; compare with care."
        say(f"warning: {', '.join(unlike)} {what}")
    alive, code = [one.name for one in sweep.points], 0
    shares = args.rungs or RUNGS
    for number, share in enumerate((*shares, 1.0), 1):
        for one in results_of(root, sweep):
            if one.point.name not in alive:
                continue
            say(f"{one.point.name}: to {share:.0%} of the steps")
            if one.run_dir is None:
                provide_weights(plan_of_point(folder / one.point.file), as_json=args.json)
            with screen(as_json=args.json) as emit:
                outcome = train_to(folder / one.point.file, one, share, emit)
            if outcome is None or outcome.state == "stopped":
                continue
            code = max(code, said := say_outcome(outcome))
            if said == STOPPED:
                return STOPPED
        if share < 1:
            results = [one for one in results_of(root, sweep) if one.point.name in alive]
            rung = decide(folder, number, share, results)
            alive = [name for name in alive if name in rung.kept]
            say(f"rung {number}, by {rung.measure}: {', '.join(rung.stopped) or 'none'} stopped")
    say_next(f"lorakit sweep table {shlex.quote(sweep.name)}")
    return code
