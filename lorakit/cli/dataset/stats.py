"""A dataset in numbers: sizes, tags, token lengths, shares of the subsets; with a recipe, buckets.

lorakit dataset stats recipes/maya.toml
lorakit dataset stats datasets/maya --tags 0 --json      # every tag
"""

from dataclasses import asdict

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.captions.tokens import LIMIT
from lorakit.dataset.check.stats import Stats, stats_of
from lorakit.errors import counted
from lorakit.show import print_json, print_text, say, size, table


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    about = "the N most common parts of captions (default 30; 0 for all)"
    parser.number("--tags", "N", about, default=30)
    parser.json()


def run(args: Arguments) -> None:
    target = read_target(args.target)
    stats = stats_of(target.scan(), target.chooser(), tags=args.tags)
    if args.json:
        print_json(asdict(stats))
    else:
        show(stats)
        say_next(*next_for_dataset(target))


def show(stats: Stats) -> None:
    rows = [
        [s.name, s.images, s.repeats, f"{s.share:.0%}", s.captions, size(s.bytes)]
        + ["-".join(map(str, spread)) for spread in (s.short_side, s.tokens)]
        for s in stats.subsets
    ]
    numbers = ["images", "repeats", "share", "captions", "size"]
    table(["subset", *numbers, "short side", "tokens"], rows, right=numbers)
    if stats.tags:
        print_text()
        names = [s.name for s in stats.subsets] if len(stats.subsets) > 1 else []
        tags = [[tag, count, *(per if names else ())] for tag, count, per in stats.tags]
        table(["tag", "captions", *names], tags, right=["captions", *names])
    if stats.buckets:
        print_text()
        buckets = [[f"{wide} x {high}", count] for (wide, high), count in stats.buckets]
        table(["bucket", "images"], buckets, right=["images"])
    if stats.too_long:
        say(
            f"{counted(stats.too_long, 'caption')} longer than {LIMIT} tokens; set"
            " max_token_length = 150 or 225, or shorten."
        )
    say("short side and tokens: smallest-median-largest")
