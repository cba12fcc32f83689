"""Which recipe and which run somebody means. Not a command itself."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.cli.terminal.arguments import Arguments
from lorakit.errors import Fault, RecipeError, nearest
from lorakit.files import at_home
from lorakit.private import words_shown
from lorakit.show import say

if TYPE_CHECKING:
    from lorakit.recipe.model import Resolved


def trained_run(word: str) -> Path:
    """Said aloud where it is not the newest one."""
    from lorakit.runs.find import find_run, find_trained

    newest, found = find_run(word), find_trained(word)
    if newest != found:
        short = "/".join(found.parts[-2:])
        say(f"{short}: the newest run with a LoRA; {newest.name} has none yet.")
    return found


def lora_at(text: str) -> tuple[str, float | None]:
    """`inkstyle:0.7`: a run or a file, and the strength where one is said."""
    name, colon, said = text.rpartition(":")
    if colon and not re.fullmatch(r"-?\d*\.?\d+", said):
        raise RecipeError(f"--also {text}: {said!r} is no strength.", hint="Such as inkstyle:0.7.")
    return (name, float(said)) if colon else (text, None)


def read(args: Arguments) -> "tuple[Resolved, tuple[Fault, ...]]":
    from lorakit.recipe.resolve import resolve

    return resolve(recipe_path(args.recipe), sets=args.sets, unsets=args.unsets)


def as_typed(args: Arguments) -> str:
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
