"""A dataset in numbers: counts, sizes, tags, token lengths, the weight of each subset, and with a recipe its buckets.

examples:
  lorakit dataset stats recipes/maya.toml
  lorakit dataset stats datasets/maya --tags 0 --json      # every tag
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from lorakit.cli.terminal.dataset_target import add_target, read_target
from lorakit.dataset.check.stats import LIMIT, Stats, stats_of
from lorakit.show import print_json, size, table, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--tags",
        type=int,
        default=30,
        metavar="N",
        help="the N most common parts of captions (default 30; 0 for all)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    target = read_target(args)
    stats = stats_of(target.scan(), target.chooser(), tags=args.tags)
    if args.json:
        print_json(asdict(stats))
    else:
        show(stats)
    return 0


def show(stats: Stats) -> None:
    table(
        ["subset", "images", "repeats", "share", "captions", "size", "short side", "tokens"],
        [
            [
                s.name,
                s.images,
                s.repeats,
                f"{s.share:.0%}",
                s.captions,
                size(s.bytes),
                "-".join(map(str, s.short_side)),
                "-".join(map(str, s.tokens)),
            ]
            for s in stats.subsets
        ],
        right=["images", "repeats", "share", "captions", "size"],
    )
    if stats.tags:
        print()
        names = [s.name for s in stats.subsets]
        table(
            ["tag", "captions", *(names if len(names) > 1 else [])],
            [[tag, count, *(per if len(names) > 1 else [])] for tag, count, per in stats.tags],
            right=["captions", *names],
        )
    if stats.buckets:
        print()
        table(
            ["bucket", "images"],
            [[f"{width} x {height}", count] for (width, height), count in stats.buckets],
            right=["images"],
        )
    if stats.too_long:
        tell(
            f"{stats.too_long} captions are longer than {LIMIT} tokens; set max_token_length = 150"
            " or 225, or shorten them."
        )
    tell("short side and tokens: smallest-median-largest")
