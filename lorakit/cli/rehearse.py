"""The same plan, a few steps, on stand-in weights: proves machine, trainer and dataset first.

lorakit rehearse recipes/maya.toml
lorakit rehearse maya --set trainer=embedded
lorakit rehearse maya --steps 4 --resolution 128 --keep out/

Weights and pictures need not be there yet. Images are only linked to; the result is thrown away
unless --keep names a folder for it.
"""

import shutil
import tempfile
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import as_typed, read
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import screen
from lorakit.config import cache_dir
from lorakit.errors import RecipeError
from lorakit.machine import this_machine
from lorakit.recipe.model import Resolved
from lorakit.runs.pace import remember
from lorakit.runs.record import read_record
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.recipe()
    parser.number("--steps", "STEPS", "training steps (2)", default=2)
    parser.number("--resolution", "RESOLUTION", "side of the training pictures (64)", default=64)
    parser.path("--keep", "DIR", "keep the rehearsal's run in this new folder")
    parser.json("one JSON document on stdout")


def run(args: Arguments) -> None:
    from lorakit.rehearse.rehearse import prepare, rehearse, tells_the_time

    if args.steps < 1 or args.resolution < 64:
        raise RecipeError("--steps must be at least 1 and --resolution at least 64.")
    if args.keep and args.keep.exists():
        raise RecipeError(f"{args.keep} exists already.", hint="Name a new folder.")
    resolved, faults = read(args)
    home = args.keep or _fresh(resolved)
    try:
        plan = prepare(
            resolved, faults, home, steps=args.steps, resolution=args.resolution, say=say
        )
        say(plan.steps.formula)
        with screen() as emit:
            done = rehearse(plan, emit=emit)
        seconds = read_record(plan.run_dir).outcome.seconds_a_step
    finally:
        if not args.keep:
            shutil.rmtree(home, ignore_errors=True)
    if seconds and tells_the_time(plan, resolved):
        remember(plan, this_machine(), seconds)
    if not args.json:
        print_text("Rehearsed; this machine can run the recipe:", *done.proofs, sep="\n  ")
        say_next(f"lorakit train {as_typed(args)}")
        return
    print_json(
        {
            "schema": "lorakit.rehearsal/1",
            "name": resolved.name,
            "trainer": resolved.trainer,
            "family": resolved.family,
            "seconds": round(done.seconds, 1),
            "loss": done.outcome.ending.loss,
            "steps": done.outcome.ending.step,
            "proofs": done.proofs,
            "kept": args.keep,
        }
    )


def _fresh(resolved: Resolved) -> Path:
    place = cache_dir() / "rehearsals"
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{resolved.name}-", dir=place))
