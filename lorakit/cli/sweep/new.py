"""A folder of plain recipes that differ in a few values: sweeps/NAME/, with a manifest.

lorakit sweep recipes/maya.toml --vary network_dim=8,16,32 --vary learning_rate=1e-4,2e-4
lorakit sweep maya --vary network_dim=8,16 --vary network_alpha=4,8 --zip   # 8 with 4, 16 with 8
lorakit sweep maya --vary learning_rate=5e-5,1e-4,2e-4 --vary seed=1,2,3 --random 4
lorakit sweep maya --vary train.optimizer_type=AdamW,Lion --name optimisers --lock
lorakit sweep maya --vary learning_rate=1e-5..1e-3 --vary network_dim=8,16,32 --search 30
lorakit sweep maya --vary network_dim=8,16 --dry-run

Every point is planned first; where one has a fault, nothing is written. A value with commas of its
own stands in quotes or brackets: --vary 'resolution="512,768","768,768"'. The points are recipes
like any other: read them, change them, train one alone. --search writes the first of them, and
`lorakit sweep run` asks Optuna for each next one by what came out of those before.
"""

from itertools import islice

from lorakit.cli.terminal.arguments import A_RECIPE, Arguments, Parser
from lorakit.cli.terminal.meant import recipe_path
from lorakit.cli.terminal.next_step import say_next
from lorakit.engines.points import combinations, read_variations
from lorakit.engines.search import FIRST, drawn
from lorakit.engines.sweep import plan_points, write_sweep
from lorakit.errors import counted
from lorakit.plan.make import faults_of
from lorakit.show import say, say_faults, table


def add_arguments(parser: Parser) -> None:
    parser.value("recipe", "RECIPE", A_RECIPE)
    parser.many("--vary", "KEY=a,b,c", "a setting and its values, as after --set; repeatable")
    about = "last word on one key for every point; repeatable"
    parser.many("--set", "KEY=VALUE", about, dest="sets")
    parser.flag("--zip", "values side by side, not all with all", dest="zipped")
    parser.number("--random", "N", "N of the combinations, drawn by --seed", default=0)
    parser.number("--seed", "N", "of --random and --search (default: 0)", default=0)
    parser.number("--search", "N", "N points, asked of Optuna; KEY=LOW..HIGH, too", default=0)
    parser.number("--at-once", "N", "first points of a search (default: 10)", default=FIRST)
    parser.value("--name", "NAME", "of the folder (default: RECIPE-sweep)")
    parser.flag("--lock", "a lock beside every recipe; hashes what it reads")
    parser.flag("--dry-run", "plan and show the points, write nothing")


def run(args: Arguments) -> None:
    recipe = recipe_path(args.recipe)
    name = args.name or f"{recipe.stem}-sweep"
    varied = read_variations(args.vary)
    if args.search:
        said = [*islice(drawn(varied, args.seed), min(args.search, args.at_once))]
    else:
        said = combinations(varied, zipped=args.zipped, random=args.random, seed=args.seed)
    planned = plan_points(recipe, name, said, args.sets)
    faults = faults_of(plan for one in planned for plan in one.plans)
    say_faults(fault for fault in faults if fault.severity == "warning")
    keys = list(planned[0].point.settings)
    rows = []
    for one in planned:
        steps = sum(plan.steps.total for plan in one.plans)
        rows.append((one.point.file, *(one.point.settings[key] for key in keys), steps))
    table(("recipe", *(key.rpartition(".")[2] for key in keys), "steps"), rows, right=("steps",))
    if args.dry_run:
        say(f"{counted(len(planned), 'point')}; nothing was written.")
        return
    seed = args.seed if args.random or args.search else None
    how = {"seed": seed, "search": args.search, "locked": args.lock}
    folder = write_sweep(recipe, name, args.vary, planned, **how)
    say(f"wrote {counted(len(planned), 'recipe')} into {folder}")
    say_next(f"lorakit sweep run {name}")
