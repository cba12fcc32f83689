"""A technical score from 0 to 100 for every picture; writes one CATEGORY_ranking.json a folder.

lorakit dataset rank datasets/maya
lorakit dataset rank datasets/maya --json | jq '.[0]'

The score says what a trainer can learn from a picture (resolution, sharpness, exposure, contrast,
cleanness, uniqueness), not whether it is a good one: correct it with your own numbers through
`lorakit dataset select --scores FILE.csv`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target, writing
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.choose.rank import Ranked, by_category, rank, write_rankings
from lorakit.dataset.rules import shown
from lorakit.errors import counted
from lorakit.show import print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    about = "show this many of each category (default 10; 0 for all)"
    parser.number("--top", "N", about, default=10)
    parser.flag("--dry-run", "show the scores, write nothing")
    parser.no_wait()
    parser.json("one JSON document with every picture")


def run(args: Arguments) -> None:
    root = read_target(args.target).root
    with writing(args, root, "rank", when=not args.dry_run):
        with counting("measuring") as progress:
            ranked = rank(root, progress=progress)
        written = [] if args.dry_run else write_rankings(root, ranked)
    if args.json:
        print_json([asdict(item) for item in ranked])
    else:
        _show(by_category(ranked), args.top or None)
    say(*(f"wrote {path}" for path in written))
    if ranked and not args.json:
        even = min(len(items) for items in by_category(ranked).values())
        select = f"lorakit dataset select {shlex.quote(args.target)} --per-category {even}"
        say_next(select, "copies the best of each folder")


def _show(categories: Mapping[str, Sequence[Ranked]], top: int | None) -> None:
    every = [item for items in categories.values() for item in items]
    names = list(next((item.parts for item in every if item.parts), {}))
    rows = []
    for items in categories.values():
        for item in items[:top]:
            parts = [f"{item.parts.get(name, 0):.0f}" for name in names]
            rows.append([f"{item.score:.1f}", *parts, "  ".join([shown(item.file), *item.faults])])
    table(["score", *names, "picture"], rows, right=["score", *names])
    for category, items in categories.items():
        mean = sum(item.score for item in items) / len(items)
        say(f"{category}: {counted(len(items), 'picture')}, mean {mean:.1f}")
