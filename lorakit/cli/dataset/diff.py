"""What differs between two versions of a dataset: images by content, captions, repeats.

lorakit dataset diff datasets/maya datasets/maya-v2
lorakit dataset diff recipes/maya.toml recipes/maya-v2.toml --json
"""

from dataclasses import asdict

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target
from lorakit.dataset.rules import shown
from lorakit.dataset.share.versions import VersionDifference, compare, version_of
from lorakit.errors import counted
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.value("before", "BEFORE", "a recipe or a dataset folder")
    parser.value("after", "AFTER", "another")
    parser.json()


def run(args: Arguments) -> None:
    before, after = (version_of(read_target(text).scan()) for text in (args.before, args.after))
    difference = compare(before, after)
    if args.json:
        print_json(asdict(difference))
        return
    show(difference)
    counts = f"{counted(len(before.images), 'image')} before, {len(after.images)} after."
    say(counts if difference else "No difference.")


def show(difference: VersionDifference) -> None:
    for tokens, fewer, more in difference.repeats:
        print_text(f"repeats      {tokens}: {fewer} -> {more}")
    for mark in ("added", "removed", "changed"):
        for name in getattr(difference, mark):
            print_text(f"{mark:<11}  {shown(name)}")
    for old, new in difference.renamed:
        print_text(f"renamed      {shown(old)} -> {shown(new)}")
    for name, was, now in difference.recaptioned:
        print_text(f"recaptioned  {shown(name)}\n  - {was}\n  + {now}")
