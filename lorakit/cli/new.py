"""A recipe and an empty dataset folder.

  lorakit new maya --preset sdxl --trigger maya_char

writes recipes/maya.toml and datasets/maya/, and says what to do next. Nothing that is there is
overwritten.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.errors import Fault, did_you_mean, raise_on_errors
from lorakit.files import write_atomic
from lorakit.recipe import presets
from lorakit.recipe.names import name_problem, trigger_problem
from lorakit.recipe.new_recipe import recipe_text
from lorakit.show import tell


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
        help="the word that calls the character up: rare, one word, such as maya_char",
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(), metavar="DIR", help="the project folder (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    root: Path = args.dir
    recipe, dataset = root / "recipes" / f"{args.name}.toml", root / "datasets" / args.name
    raise_on_errors(_faults(args.name, args.preset, args.trigger, root, recipe))
    write_atomic(recipe, recipe_text(args.name, presets.read(args.preset, root), args.trigger))
    kept = dataset.exists()
    dataset.mkdir(parents=True, exist_ok=True)
    place = "" if args.dir == Path() else f"{root.as_posix()}/"
    tell(
        f"Wrote {recipe} and {'found' if kept else 'made'} {dataset}/.",
        "",
        "Next:",
        f"  edit {place}recipes/{args.name}.toml: where the base model lies",
        f"  lorakit dataset add {place}recipes/{args.name}.toml PHOTOS --repeats 10",
        f"  lorakit dataset prepare {place}recipes/{args.name}.toml",
        f"  lorakit plan {place}recipes/{args.name}.toml",
    )
    return 0


def _faults(name: str, preset: str, trigger: str, root: Path, recipe: Path) -> list[Fault]:
    faults = [
        Fault(where, problem, rule="new")
        for where, problem in (
            ("NAME", name_problem(name)),
            ("--trigger", trigger_problem(trigger)),
        )
        if problem
    ]
    if not presets.find(preset, root):
        hint = did_you_mean(preset, presets.names(root)) or "`lorakit presets` lists them."
        faults.append(Fault("--preset", f"no preset is called {preset!r}.", hint, rule="preset"))
    if not name_problem(name) and recipe.exists():
        faults.append(
            Fault(
                str(recipe),
                "is there already, and is left as it is.",
                "Choose another name.",
                rule="new",
            )
        )
    return faults
