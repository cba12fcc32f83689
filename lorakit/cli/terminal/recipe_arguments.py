"""RECIPE, --set and --unset for every command that takes a recipe. Not a command itself."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from lorakit.errors import Fault, RecipeError, nearest
from lorakit.files import at_home
from lorakit.machine import Machine, machine_named
from lorakit.private import words_shown
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a recipe file, or the bare name of one in recipes/"
    )
    add_override_arguments(parser)


def add_override_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="sets",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="last word on one key, such as network_dim=16 or model.base=models/x; repeatable",
    )
    parser.add_argument(
        "--unset",
        dest="unsets",
        metavar="KEY",
        action="append",
        default=[],
        help="remove a key that the preset or the recipe sets; repeatable",
    )


def read(args: argparse.Namespace) -> tuple[Resolved, tuple[Fault, ...]]:
    return resolve(recipe_path(args.recipe), sets=args.sets, unsets=args.unsets)


def another_machine(text: str) -> Machine:
    """The type of --for and --fits."""
    try:
        return machine_named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def as_typed(args: argparse.Namespace) -> str:
    """The recipe and what was said over it, for the next command; private values only by name."""
    said = [args.recipe, *(f"--set={one}" for one in args.sets)]
    return shlex.join(words_shown([*said, *(f"--unset={one}" for one in args.unsets)]))


def recipe_path(text: str) -> Path:
    """The file that a path or a bare name means; a missing one names the nearest."""
    path = at_home(Path(text))
    places = [path] if path.suffix == ".toml" else [path, Path(f"{path}.toml")]
    for place in [*places, *(Path("recipes") / one for one in places if one.parent == Path())]:
        if place.is_file():
            return place
    folder = Path("recipes")
    if path.suffix == ".toml" and path.parent.is_dir() and path.parent != Path():
        folder = path.parent
    files = folder.glob("*.toml") if folder.is_dir() else ()
    known = {file.stem: file for file in files if not file.name.endswith(".lock.toml")}
    if near := nearest(path.stem, known):
        raise RecipeError(f"No recipe at {text}. Did you mean {known[near]}?")
    few = "lorakit new NAME --preset P --trigger T makes one."
    if 0 < len(known) <= 12:
        few = f"There are {', '.join(sorted(known))}."
    raise RecipeError(f"No recipe at {text}. {few}")
