"""A folder of plain recipes that differ in a few values: sweeps/NAME/, with a manifest.

examples:
  lorakit sweep recipes/maya.toml --vary network_dim=8,16,32 --vary learning_rate=1e-4,2e-4
  lorakit sweep maya --vary network_dim=8,16 --vary network_alpha=4,8 --zip   # 8 with 4, 16 with 8
  lorakit sweep maya --vary learning_rate=5e-5,1e-4,2e-4 --vary seed=1,2,3 --random 4
  lorakit sweep maya --vary train.optimizer_type=AdamW,Lion --name optimisers --lock
  lorakit sweep maya --vary network_dim=8,16 --dry-run

Every point is planned first; where one has a fault, nothing is written. A value with commas of its
own stands in quotes or brackets: --vary 'resolution="512,768","768,768"'. The points are recipes
like any other: read them, change them, train one alone.
"""

from __future__ import annotations

import argparse
import shlex

from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.recipe_arguments import recipe_path
from lorakit.errors import counted
from lorakit.recipe.resolve import root_of
from lorakit.show import say, say_faults, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a recipe file, or the bare name of one in recipes/")
    about = "a setting and its values, as after --set; repeatable"
    add("--vary", metavar="KEY=a,b,c", action="append", default=[], help=about)
    about = "last word on one key for every point; repeatable"
    add("--set", dest="sets", metavar="KEY=VALUE", action="append", default=[], help=about)
    add("--zip", dest="zipped", action="store_true", help="values side by side, not all with all")
    add("--random", type=int, default=0, metavar="N", help="N of the combinations, drawn by --seed")
    add("--seed", type=int, default=0, metavar="N", help="of --random (default: 0)")
    add("--name", default="", metavar="NAME", help="of the folder (default: RECIPE-sweep)")
    add("--lock", action="store_true", help="a lock beside every recipe; hashes what it reads")
    add("--dry-run", action="store_true", help="plan and show the points, write nothing")


def run(args: argparse.Namespace) -> int:
    from lorakit.engines.points import combinations, read_variations
    from lorakit.engines.sweep import plan_points, sweep_of, write_sweep

    recipe = recipe_path(args.recipe)
    root, name = root_of(recipe.absolute()), args.name or f"{recipe.stem}-sweep"
    said = combinations(
        read_variations(args.vary), zipped=args.zipped, random=args.random, seed=args.seed
    )
    planned = plan_points(recipe, name, said, args.sets)
    warned = [fault for one in planned for plan in one.plans for fault in plan.faults]
    say_faults(fault for fault in dict.fromkeys(warned) if fault.severity == "warning")
    keys = list(planned[0].point.settings)
    table(
        ("recipe", *(key.rpartition(".")[2] for key in keys), "steps"),
        [
            (
                one.point.file,
                *(one.point.settings[key] for key in keys),
                sum(plan.steps.total for plan in one.plans),
            )
            for one in planned
        ],
        right=("steps",),
    )
    if args.dry_run:
        say(f"{counted(len(planned), 'point')}; nothing was written.")
        return 0
    seed = args.seed if args.random else None
    sweep = sweep_of(root, recipe, name, args.vary, planned, seed=seed)
    folder = write_sweep(root, sweep, planned, locked=args.lock)
    say(f"wrote {counted(len(planned), 'recipe')} into {folder}")
    say_next(f"lorakit sweep run {shlex.quote(name)}")
    return 0
