"""A recipe and an empty dataset folder.

  lorakit new maya --preset sdxl --trigger maya_char

writes recipes/maya.toml and datasets/maya/, and says what to do next. Nothing that is there is
overwritten.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.errors import Fault, raise_on_errors
from lorakit.files import write_new
from lorakit.recipe import presets
from lorakit.recipe.names import name_problem, trigger_problem
from lorakit.recipe.new_recipe import recipe_text
from lorakit.show import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help="of the recipe, the dataset folder and the LoRA"
    )
    parser.add_argument(
        "--preset", required=True, metavar="P", help="one that `lorakit presets` lists"
    )
    parser.add_argument(
        "--trigger",
        required=True,
        metavar="T",
        help="the word that calls the character: rare, one word, such as maya_char",
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(), metavar="DIR", help="the project folder (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    root: Path = args.dir
    recipe, dataset = root / "recipes" / f"{args.name}.toml", root / "datasets" / args.name
    raise_on_errors(_faults(args.name, args.preset, args.trigger, root, recipe))
    recipe.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_new(recipe, recipe_text(args.name, presets.read(args.preset, root), args.trigger))
    except FileExistsError:  # another `new` was a moment earlier
        raise_on_errors([_taken(recipe)])
    kept = dataset.exists()
    dataset.mkdir(parents=True, exist_ok=True)
    say(
        f"Wrote {recipe} and {'found' if kept else 'made'} {dataset}/.",
        "",
        "Next:",
        f"  edit {recipe.as_posix()}: where the base model is",
        f"  lorakit dataset add {recipe.as_posix()} PHOTOS --repeats 10",
        f"  lorakit dataset prepare {recipe.as_posix()}",
        f"  lorakit plan {recipe.as_posix()}",
    )
    return 0


def _faults(name: str, preset: str, trigger: str, root: Path, recipe: Path) -> list[Fault]:
    problems = {"NAME": name_problem(name), "--trigger": trigger_problem(trigger)}
    faults = [Fault(where, problem, rule="new") for where, problem in problems.items() if problem]
    if not presets.find(preset, root):
        faults.append(presets.unknown("--preset", preset, root))
    if not problems["NAME"] and recipe.exists():
        faults.append(_taken(recipe))
    return faults


def _taken(recipe: Path) -> Fault:
    what = "is there already, and is left as it is."
    return Fault(str(recipe), what, "Choose another name.", "new")
