"""The table of every LoRA trained here, kept up to date in REGISTRY.md.

examples:
  lorakit registry            # bring REGISTRY.md up to date and show it
  lorakit registry --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from lorakit.runs.registry import FILE, update
from lorakit.show import print_json, say, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    root = Path.cwd()
    rows, changed = update(root)
    if args.json:
        print_json([asdict(row) for row in rows])
    elif rows:
        shown = (
            "run",
            "trigger",
            "family",
            "base",
            "steps",
            "images",
            "loss",
            "chosen",
            "strength",
            "rating",
            "notes",
        )
        table(
            shown,
            [[getattr(row, name) for name in shown] for row in rows],
            right=("steps", "images", "loss"),
        )
    if rows or changed:
        say(f"wrote {root / FILE}" if changed else f"{FILE} is up to date.")
    else:
        say(f"No finished run under {root}: `lorakit train RECIPE` makes one.")
    return 0
