"""Read every file again, hash it and name every difference; exit 1 where there is one.

examples:
  lorakit verify latest                  # a run: its files, weights, dataset and checkpoints
  lorakit verify recipes/maya.lock.toml  # a lock: would the recipe train from the same inputs?
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.errors import counted
from lorakit.runs.find import find_run, run_name
from lorakit.show import print_json, print_text, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="RUN|LOCK", help="a run (name, date, path, latest) or a .lock.toml"
    )
    parser.add_argument(
        "--quick", action="store_true", help="do not read again what looks unchanged (size, time)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    from lorakit.proof.verify import verify_lock, verify_run

    if args.what.endswith(".lock.toml"):
        found, around = verify_lock(Path(args.what), quick=args.quick)
        good = "The recipe would train from exactly what was locked."
    else:
        run_dir = find_run(args.what)
        found, around = verify_run(run_dir, quick=args.quick), []
        good = f"{run_name(run_dir)}: everything is what its record says."
    if args.json:
        print_json({"differences": found, "circumstances": around})
    else:
        lines = [*map(str, found), *(f"(circumstance) {one}" for one in around)]
        print_text("".join(f"{line}\n" for line in lines), end="")
    say(f"{counted(len(found), 'difference')}." if found else good)
    if args.quick:
        say("Files that look unchanged (size, time) were not read.")
    return int(bool(found))
