"""Copy photos, folders and zip archives into the dataset's originals/; the sources are never touched.

  lorakit dataset add recipes/maya.toml ~/photos --repeats 40
  lorakit dataset add recipes/maya.toml bodies.zip --repeats 20 --tag realistic_body
  lorakit dataset add datasets/maya a.jpg b.jpg --repeats 10 --trigger maya_char --dry-run

Captions lying beside the images come along. What is there already is left alone; what cannot be
decoded, is a duplicate or is too small is refused by name. `lorakit dataset prepare` then makes the
N_trigger folders.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from lorakit.cli.terminal.dataset_target import Target, read_target
from lorakit.cli.terminal.progress import counting
from lorakit.dataset.build.jobs import folder_for
from lorakit.dataset.build.originals import MIN_SIDE, Outcome, Subset, add, read_subsets
from lorakit.dataset.folder_names import format_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.scan import looks_like_image
from lorakit.errors import RecipeError
from lorakit.show import print_json, table, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="RECIPE|FOLDER",
        help="a recipe, or the dataset folder (made when it is not there)",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=Path,
        help="images, folders (with everything below), zip archives",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="how often an epoch shows each image (default: as before, else 10)",
    )
    parser.add_argument(
        "--trigger", default="", help="default: the recipe's trigger, or the folder's name"
    )
    parser.add_argument(
        "--tag", default="", help="a second set under the same trigger, e.g. realistic_body"
    )
    parser.add_argument(
        "--min-side",
        type=int,
        default=MIN_SIDE,
        metavar="PIXELS",
        help=f"refuse smaller images (default {MIN_SIDE})",
    )
    parser.add_argument(
        "--move-nothing",
        action="store_true",
        help="always so; the flag is for scripts that want to say it",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, copy nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    _right_way_round(args)
    target = dataset_target(args)
    subset = _subset(target, args)
    with counting("reading") as progress:
        outcome = add(
            target.root,
            subset,
            args.paths,
            min_side=args.min_side,
            dry_run=args.dry_run,
            progress=progress,
        )
    if args.json:
        print_json(
            {
                "subset": format_folder(subset.repeats, subset.tokens),
                "added": outcome.added,
                "present": outcome.present,
                "refused": outcome.refused,
            }
        )
    else:
        _tell(args.target, target, subset, outcome, dry_run=args.dry_run)
    errors = any(item.severity == "error" for item in outcome.refused)
    return int(errors and not outcome.added and not outcome.present)


def _right_way_round(args: argparse.Namespace) -> None:
    """Photos given first would make a dataset of somebody's photo folder."""
    first, last = Path(args.target), args.paths[-1]
    if last.suffix == ".toml" and last.is_file():
        raise RecipeError(
            f"{last} is a recipe, and stands before the photos.",
            hint=f"lorakit dataset add {last} {first}",
        )
    if first.is_dir() and any(looks_like_image(path.name) for path in first.iterdir()):
        raise RecipeError(
            f"{first} holds photos itself: the recipe, or a folder of its own for the dataset,"
            " stands before them.",
            hint=f"lorakit dataset add RECIPE {first}",
        )


def dataset_target(args: argparse.Namespace) -> Target:
    """As every command, but a folder that is not there yet is taken for a new dataset."""
    path = Path(args.target)
    if not path.exists() and path.suffix != ".toml" and len(path.parts) > 1:
        return Target(path.absolute(), None)
    return read_target(args, must_exist=False)


def _subset(target: Target, args: argparse.Namespace) -> Subset:
    known = read_subsets(target.root)
    only = next(iter(known.values())).trigger if known else ""
    trigger = args.trigger or target.trigger or only or target.root.name
    draft = Subset(1, trigger, args.tag)
    before = known.get(draft.tokens)
    repeats = args.repeats if args.repeats is not None else before.repeats if before else 10
    subset = Subset(repeats, trigger, args.tag)
    format_folder(subset.repeats, subset.tokens)  # refuses names that would not come back
    if subset.tokens.startswith(".") or not trigger:
        raise RecipeError(f"{trigger!r} cannot name a folder.", hint="Give --trigger.")
    return subset


def _tell(where: str, target: Target, subset: Subset, outcome: Outcome, *, dry_run: bool) -> None:
    if outcome.refused:
        table(
            ["refused", "rule", "why"],
            [
                (item.where, item.rule, f"{item.what} {item.hint}".rstrip())
                for item in outcome.refused
            ],
        )
    folder = shown(target.root / "originals" / subset.tokens)
    captions = sum(item.caption is not None for item in outcome.added)
    verb = "would be copied" if dry_run else "copied"
    tell(
        f"{len(outcome.added)} images {verb} to {folder}, {captions} with captions;"
        f" {len(outcome.present)} were there already; {len(outcome.refused)} refused"
        + (f" ({_reasons(outcome)})." if outcome.refused else ".")
    )
    standing = folder_for(target.root, subset.tokens, subset.repeats)
    if (outcome.added or outcome.present) and standing.name != format_folder(
        subset.repeats, subset.tokens
    ):
        tell(
            f"{shown(standing.name)} stands already and keeps its repeats: lorakit dataset layout"
            f" {where} --repeats {subset.tokens}={subset.repeats} changes them."
        )
    if outcome.added and not dry_run:
        tell(f"Next: lorakit dataset prepare {where}")


def _reasons(outcome: Outcome) -> str:
    return ", ".join(
        f"{count} {rule}"
        for rule, count in Counter(item.rule for item in outcome.refused).most_common()
    )
