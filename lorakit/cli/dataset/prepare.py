"""Make the N_trigger folders from the originals: upright, sRGB, without metadata, fitted. Originals are only read.

  lorakit dataset prepare recipes/maya.toml                               # down to the buckets that kohya will choose
  lorakit dataset prepare recipes/maya.toml --fit letterbox --size 512 --background white
  lorakit dataset prepare datasets/maya --fit crop --focus top --size 1024 --format png
  lorakit dataset prepare datasets/maya --from ~/photos --repeats 10      # without originals/

Only what changed is made anew; what a person has edited stays unless --force is given. Nothing is
ever enlarged. A contact sheet with every crop, bucket and caption is written to
.lorakit/sheet-01.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.cli.dataset.add import dataset_target
from lorakit.cli.dataset.check import read_size
from lorakit.cli.terminal.dataset_target import Target
from lorakit.cli.terminal.progress import counting
from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.build.contact_sheet import write_sheets
from lorakit.dataset.build.fit import Settings, settings_problems
from lorakit.dataset.build.jobs import Job, jobs_of
from lorakit.dataset.build.originals import name_of
from lorakit.dataset.build.prepare import Outcome, prepare
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError
from lorakit.show import print_json, table, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="RECIPE|FOLDER", help="a recipe, or the dataset folder")
    parser.add_argument(
        "--fit",
        choices=("bucket", "letterbox", "crop", "none"),
        default="bucket",
        help="default: bucket",
    )
    parser.add_argument(
        "--size",
        default="",
        metavar="WxH",
        help="of letterbox and crop, e.g. 512 or 512x768 (default: the recipe's resolution)",
    )
    parser.add_argument(
        "--background",
        default="white",
        metavar="COLOUR",
        help="behind transparency and in a letterbox (default white)",
    )
    parser.add_argument(
        "--focus",
        choices=("centre", "top", "face"),
        default="centre",
        help="what --fit crop keeps (face needs a detector)",
    )
    parser.add_argument(
        "--format", choices=("jpeg", "png", "webp"), default="jpeg", help="default: jpeg"
    )
    parser.add_argument(
        "--quality", type=int, default=95, metavar="1..100", help="of jpeg and webp (default 95)"
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="a folder of images to use where there are no originals",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="of folders that are made now (default: as given to add, else 10)",
    )
    parser.add_argument(
        "--trigger",
        default="",
        help="with --from: the class tokens (default: the recipe's trigger)",
    )
    parser.add_argument(
        "--force", action="store_true", help="also make anew what a person has edited"
    )
    parser.add_argument("--no-sheet", action="store_true", help="no contact sheet")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be made, make nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    target = dataset_target(args)
    settings = _settings(target, args)
    root = target.root
    jobs = jobs_of(
        root,
        settings,
        repeats=args.repeats,
        trigger=args.trigger or target.trigger,
        source=args.source,
    )
    with counting("preparing") as progress:
        outcome = prepare(
            root,
            jobs,
            force=args.force,
            dry_run=args.dry_run,
            caption_extension=target.caption_extension,
            progress=progress,
        )
    rules = settings.rules if target.resolved or args.fit == "bucket" else None
    sheets = (
        [] if args.dry_run or args.no_sheet else write_sheets(root, rules, target.caption_extension)
    )
    if args.json:
        print_json(
            {
                "made": [name_of(root, path) for path in outcome.made],
                "unchanged": [name_of(root, path) for path in outcome.unchanged],
                "kept": outcome.kept,
                "refused": outcome.refused,
                "notes": outcome.notes,
                "sheets": sheets,
            }
        )
    else:
        _tell(args.target, root, jobs, outcome, sheets, dry_run=args.dry_run)
    return int(bool(outcome.refused))


def _settings(target: Target, args: argparse.Namespace) -> Settings:
    if target.resolved is not None:
        from lorakit.recipe.options import Options

        rules = Options(target.resolved).bucket_rules
    else:
        size = read_size(args.size) if args.size else (1024, 1024)
        rules = BucketRules(size, min=min(256, *size), max=2 * max(size))
    size = read_size(args.size) if args.size else rules.resolution
    settings = Settings(
        args.fit, size, args.background, args.focus, args.format, args.quality, rules
    )
    problems = settings_problems(settings)
    if problems:
        raise RecipeError(f"{'; '.join(problems)}.")
    if args.focus == "face":
        from lorakit.dataset.build.faces import need_detector

        need_detector()
    return settings


def _tell(
    where: str, root: Path, jobs: list[Job], outcome: Outcome, sheets: list[Path], *, dry_run: bool
) -> None:
    rows = [
        (kind, item.where, f"{item.what} {item.hint}".rstrip())
        for kind, items in (
            ("refused", outcome.refused),
            ("kept", outcome.kept),
            ("note", outcome.notes),
        )
        for item in items
    ]
    if rows:
        table(["", "file", "what"], rows)
    folders = sorted({shown(name_of(root, job.target.parent)) for job in jobs})
    verb = "would be made" if dry_run else "made"
    tell(
        f"{len(outcome.made)} {verb}, {len(outcome.unchanged)} unchanged, {len(outcome.kept)} kept,"
        f" {len(outcome.refused)} refused, in {', '.join(folders)}."
    )
    if sheets:
        tell(
            f"Contact sheet: {shown(sheets[0])}"
            + (f" and {len(sheets) - 1} more" if len(sheets) > 1 else "")
        )
    if not dry_run:
        tell(f"Next: lorakit dataset check {where}")
