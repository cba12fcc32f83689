"""Copy photos, folders and zip archives into originals/; the sources are never touched.

  lorakit dataset add recipes/maya.toml ~/photos --repeats 40
  lorakit dataset add recipes/maya.toml bodies.zip --repeats 20 --tag realistic_body
  lorakit dataset add datasets/maya a.jpg b.jpg --repeats 10 --trigger maya_char --dry-run

Captions beside the images come along. What is there already is left alone; what cannot be
decoded, is a duplicate or is too small is refused by name. `lorakit dataset prepare` then makes the
N_trigger folders.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from lorakit.cli.terminal.dataset_target import Target, add_no_wait, read_target, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.cli.terminal.progress import counting
from lorakit.dataset.build.jobs import folder_for
from lorakit.dataset.build.originals import (
    MIN_SIDE,
    ORIGINALS,
    AddOutcome,
    SubsetPlan,
    add,
    subset_to_fill,
)
from lorakit.dataset.folder_names import format_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import looks_like_image
from lorakit.errors import RecipeError, counted
from lorakit.show import print_json, say, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    about = "a recipe, or the dataset folder (made when it is not there)"
    add("target", metavar="RECIPE|FOLDER", help=about)
    about = "images, folders (with everything below), zip archives"
    add("paths", metavar="PATH", nargs="+", type=Path, help=about)
    about = "how often an epoch shows each image (default: as before, else 10)"
    add("--repeats", type=int, metavar="N", help=about)
    add("--trigger", default="", help="default: the recipe's trigger, or the folder's name")
    add("--tag", default="", help="a second set under the same trigger, e.g. realistic_body")
    about = f"refuse smaller images (default {MIN_SIDE})"
    add("--min-side", type=int, default=MIN_SIDE, metavar="PIXELS", help=about)
    about = "always so; the flag is for scripts that want to say it"
    add("--move-nothing", action="store_true", help=about)
    add("--dry-run", action="store_true", help="say what would be done, copy nothing")
    add_no_wait(parser)
    add("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    _right_way_round(args)
    target = dataset_target(args)
    words = {"trigger": args.trigger, "recipe": target.trigger, "tag": args.tag}
    subset_to_fill(target.root, args.repeats, **words)  # says what is wrong before it waits
    dry = {"min_side": args.min_side, "dry_run": args.dry_run}
    with writing(args, target.root, "add", when=not args.dry_run):
        subset = subset_to_fill(target.root, args.repeats, **words)
        with counting("reading") as progress:
            outcome = add(target.root, subset, args.paths, progress=progress, **dry)
    if args.json:
        print_json({"subset": format_folder(subset.repeats, subset.tokens), **vars(outcome)})
    else:
        _report(args.target, target.root, subset, outcome, dry_run=args.dry_run)
        if (outcome.added or outcome.present) and not args.dry_run:
            say_next(*next_for_dataset(target, args.target, after="add" if outcome.added else ""))
    errors = any(item.severity == "error" for item in outcome.refused)
    return int(errors and not outcome.added and not outcome.present)


def _right_way_round(args: argparse.Namespace) -> None:
    """Photos given first would make a dataset of somebody's photo folder."""
    first, last = Path(args.target), args.paths[-1]
    if last.suffix == ".toml" and last.is_file():
        hint = f"lorakit dataset add {last} {first}"
        raise RecipeError(f"{last} is a recipe, and goes before the photos.", hint=hint)
    if first.is_dir() and any(looks_like_image(path.name) for path in first.iterdir()):
        raise RecipeError(
            f"{first} holds photos itself: the recipe, or a folder of its own for the dataset,"
            " goes before them.",
            hint=f"lorakit dataset add RECIPE {first}",
        )


def dataset_target(args: argparse.Namespace) -> Target:
    """As every command, but a folder that is not there yet is taken for a new dataset."""
    path = Path(args.target)
    if not path.exists() and path.suffix != ".toml" and len(path.parts) > 1:
        return Target(path.absolute(), None)
    return read_target(args, must_exist=False)


def _report(
    where: str, root: Path, subset: SubsetPlan, outcome: AddOutcome, *, dry_run: bool
) -> None:
    if outcome.refused:
        rows = [(r.where, r.rule, f"{r.what} {r.hint}".rstrip()) for r in outcome.refused]
        table(["refused", "rule", "why"], rows)
    rules = Counter(item.rule for item in outcome.refused).most_common()
    reasons = f" ({', '.join(f'{count} {rule}' for rule, count in rules)})" if rules else ""
    captions = sum(item.caption is not None for item in outcome.added)
    say(
        f"{counted(len(outcome.added), 'image')} {'would be copied' if dry_run else 'copied'} to"
        f" {shown(root / ORIGINALS / subset.tokens)}, {captions} with captions;"
        f" {len(outcome.present)} there already; {len(outcome.refused)} refused{reasons}."
    )
    folder = folder_for(root, subset.tokens, subset.repeats).name
    named = format_folder(subset.repeats, subset.tokens)
    if (outcome.added or outcome.present) and folder != named:
        say(
            f"{shown(folder)} exists already and keeps its repeats: lorakit dataset layout {where}"
            f" --repeats {subset.tokens}={subset.repeats} changes them."
        )
