"""All sections, three at a time (they wait a lot), each in a process of its own; one table; exit 1 if any case is wrong.

python -m attacks [SECTION ...] [--quick | --count N] [--at-once N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attacks import TESTS
from attacks.table import Section, Tally, printed, run


def main() -> int:
    from attacks.sections import SECTIONS  # not by the workers, which begin by reading this file

    parser = argparse.ArgumentParser(prog="attacks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="the counts of `make test`")
    parser.add_argument("--count", type=int, metavar="N", help="so many of each section")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="so many sections (3)")
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # one section here, its tally as JSON
    args = parser.parse_args()
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}")
    chosen = [SECTIONS[name] for name in args.sections or SECTIONS]
    if args.alone:
        tally = run(chosen[0], Path(args.alone), args.count)
        Path(args.alone, "tally.json").write_text(json.dumps(tally.as_json()), encoding="utf-8")
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as top,
        ThreadPoolExecutor(args.at_once) as pool,
    ):
        began = time.monotonic()

        def one(section: Section) -> Tally:
            tally = in_a_process(
                section, Path(top, section.name), args.count or count_of(section, quick=args.quick)
            )
            at = time.monotonic() - began
            line = (
                f"{tally.name}: {tally.right:,} of {tally.tried:,} right in {tally.seconds:.0f} s"
            )
            print(f"[{at:4.0f} s] {line}", flush=True)
            return tally

        slowest_first = sorted(chosen, key=lambda one: list(SECTIONS)[::-1].index(one.name))
        done = {tally.name: tally for tally in pool.map(one, slowest_first)}
        print()
        print(printed([done[section.name] for section in chosen]))
        print(f"\n{time.monotonic() - began:.0f} s in all")
        return int(any(tally.wrong for tally in done.values()))


def count_of(section: Section, *, quick: bool) -> int:
    return section.quick if quick else section.full


def in_a_process(section: Section, folder: Path, count: int) -> Tally:
    """With a home and a temporary folder of its own: the real ones are never read."""
    home = folder / "home"
    (home / "tmp").mkdir(parents=True)
    keep = {
        key: text
        for key, text in os.environ.items()
        if not key.startswith(("LORAKIT_", "HF_", "XDG_"))
    }
    words = [sys.executable, "-m", "attacks", section.name, "--alone", str(folder)]
    words += ["--count", str(count)]
    done = subprocess.run(
        words,
        env={
            **keep,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PYTHONPATH": str(TESTS),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        told = json.loads((folder / "tally.json").read_text(encoding="utf-8"))
        return Tally(**{**told, "wrong": tuple(told["wrong"])})
    except FileNotFoundError:
        return Tally(section.name, count, (f"the section itself: {done.stderr[-300:]}",), 0)


if __name__ == "__main__":
    sys.exit(main())
