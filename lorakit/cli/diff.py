"""Two runs side by side: settings, data, weights, versions, results. Equal things are not shown.

  lorakit diff maya latest
  lorakit diff maya/20260801-201500 maya/20260802-093000 --json
"""

from __future__ import annotations

import argparse

from lorakit.proof.compare import Difference, shown
from lorakit.proof.pair import compare_runs
from lorakit.run.find import find_run
from lorakit.show import print_json, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="RUN", help="name, date, path or latest")
    parser.add_argument("after", metavar="RUN", help="another")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    a, b = find_run(args.before), find_run(args.after)
    found = compare_runs(a, b)
    if args.json:
        print_json(found)
        return 0
    tell(f"- {a.parent.name}/{a.name}", f"+ {b.parent.name}/{b.name}")
    for section, rows in found.items():
        if rows:
            print(section)
        for row in rows:
            show(row)
    if not any(found.values()):
        tell("The two runs are equal in everything that is recorded.")
    return 0


def show(one: Difference) -> None:
    """Short values on one line, long ones (captions) under each other."""
    before, after = ("absent" if side is None else shown(side) for side in (one.before, one.after))
    if len(before) + len(after) < 70:
        print(f"  {one.key}: {before} -> {after}")
    else:
        print(f"  {one.key}\n    - {before}\n    + {after}")
