"""The table of every LoRA trained here, kept up to date in REGISTRY.md.

lorakit registry            # bring REGISTRY.md up to date and show it
lorakit registry --json
"""

from dataclasses import asdict, fields
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.runs.registry import FILE, Row, update
from lorakit.show import print_json, say, table

NOT_SHOWN = {"name", "date", "validation", "origin"}


def add_arguments(parser: Parser) -> None:
    parser.json()


def run(args: Arguments) -> None:
    root = Path.cwd()
    rows, changed = update(root)
    if args.json:
        print_json([asdict(row) for row in rows])
    elif rows:
        shown = [one.name for one in fields(Row) if one.name not in NOT_SHOWN]
        cells = [[getattr(row, name) for name in shown] for row in rows]
        table(shown, cells, right=("steps", "images", "loss"))
    if rows or changed:
        say(f"wrote {root / FILE}" if changed else f"{FILE} is up to date.")
    else:
        say(f"No finished run under {root}: `lorakit train RECIPE` makes one.")
