"""A recipe of what somebody else's config, command or LoRA says; and what became of every value.

lorakit import her-config.toml                    kohya's TOML; a dataset TOML that it names too
lorakit import train.sh                           a script (fluxgym's), or a folder that holds one
lorakit import "accelerate launch train_network.py --network_dim 16 ..."     or - for stdin
lorakit import kohya_ss.json --family sdxl        the window's JSON; ai-toolkit's YAML; OneTrainer
lorakit import downloads/style.safetensors        what a LoRA says of its own training

Nothing is executed, moved or fetched. The recipe is new; one that is there stays as it is.
"""

import shlex
import sys
from collections import Counter
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import LorakitError, did_you_mean, refused
from lorakit.exchange.read import read_thing
from lorakit.exchange.take import TakenOver, take_over
from lorakit.families import FAMILIES
from lorakit.files import write_or_refuse
from lorakit.show import print_json, print_text, say, table

MANY = 4  # values with one and the same answer are listed together


def add_arguments(parser: Parser) -> None:
    parser.value("thing", "THING", "a file, a folder, a pasted command in quotes, or -")
    parser.value("--name", "N", "of the recipe (default: what the config says)")
    parser.value("--family", "F", "where nothing in it says what is trained")
    parser.path("--dir", "DIR", "the project (default: here)", default=Path())
    parser.flag("-v --verbose", "also what was kept as it is")
    parser.flag("--dry-run", "the report alone; no recipe is written")
    parser.json("the report and the recipe as one JSON document")


def run(args: Arguments) -> None:
    if args.family and args.family not in FAMILIES:
        hint = did_you_mean(args.family, FAMILIES)
        raise refused("--family", f"no family is called {args.family!r}.", hint)
    thing = sys.stdin.read() if args.thing == "-" else args.thing
    taken = take_over(read_thing(thing, Path()), args.dir, family=args.family, name=args.name)
    if args.json:
        print_json({"family": taken.family, "fates": taken.fates, "recipe": taken.text()})
    else:
        _show(taken, verbose=args.verbose)
    if taken.family not in FAMILIES:
        what = f"lorakit has no family for {taken.family!r} yet, so no recipe was written."
        raise LorakitError(what, hint=f"It has {', '.join(FAMILIES)}; --family takes one of them.")
    recipe = args.dir / "recipes" / f"{taken.name}.toml"
    if args.dry_run or args.json:
        return
    write_or_refuse(recipe, taken.text(), "Choose another name: --name.")
    say(f"Wrote {recipe}.")
    say_next(f"lorakit plan {shlex.quote(recipe.as_posix())}")


def _show(taken: TakenOver, *, verbose: bool) -> None:
    shown = ("kept", "translated", "dropped") if verbose else ("translated", "dropped")
    for done in shown:
        fates = [fate for fate in taken.fates if fate.done == done]
        alike = Counter(one.text for one in fates)
        rows = [one for one in fates if verbose or alike[one.text] <= MANY]
        if fates:
            print_text(f"{done}:")
            cells = [(f"  {one.source}", _short(one.value), one.text) for one in rows]
            table(("", "value", ""), cells)
        for text in (text for text, count in alike.items() if count > MANY and not verbose):
            names = ", ".join(one.source for one in fates if one.text == text)
            print_text(f"  {text} {names}")
    family = f"{taken.family}{' (a guess; --family says another)' if taken.guessed else ''}"
    numbers = ", ".join(f"{count} {word}" for word, count in taken.counts.items())
    print_text(f"{taken.theirs.kind}, {family}: {len(taken.fates)} values, {numbers}.")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
