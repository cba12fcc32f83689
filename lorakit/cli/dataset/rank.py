"""A technical score from 0 to 100 for every picture, with its parts; writes one CATEGORY_ranking.json a folder.

  lorakit dataset rank datasets/maya
  lorakit dataset rank datasets/maya --json | jq '.[0]'

The score says what a trainer can learn from a picture (resolution, sharpness, exposure, contrast,
cleanness, uniqueness), not whether it is a good one: correct it with your own numbers through
`lorakit dataset select --scores FILE.csv`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from lorakit.cli.terminal.dataset_target import add_target, read_target
from lorakit.cli.terminal.progress import counting
from lorakit.dataset.choose.rank import by_category, rank, write_rankings
from lorakit.dataset.rules import shown
from lorakit.show import print_json, table, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--top",
        type=int,
        default=10,
        metavar="N",
        help="show this many of each category (default 10; 0 for all)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the scores, write nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document with every picture")


def run(args: argparse.Namespace) -> int:
    root = read_target(args).root
    with counting("measuring") as progress:
        ranked = rank(root, progress=progress)
    if args.json:
        print_json([asdict(item) for item in ranked])
    else:
        names = list(next((item.parts for item in ranked if item.parts), {}))
        best = [
            item for items in by_category(ranked).values() for item in items[: args.top or None]
        ]
        table(
            ["score", *names, "picture"],
            [
                [
                    f"{item.score:.1f}",
                    *(f"{item.parts.get(name, 0):.0f}" for name in names),
                    "  ".join([shown(item.file), *item.faults]),
                ]
                for item in best
            ],
            right=["score", *names],
        )
        for category, items in by_category(ranked).items():
            tell(
                f"{category}: {len(items)} pictures, mean"
                f" {sum(item.score for item in items) / len(items):.1f}"
            )
    if not args.dry_run:
        tell(*(f"wrote {path}" for path in write_rankings(root, ranked)))
    return 0
