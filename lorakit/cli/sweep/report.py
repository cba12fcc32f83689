"""A sweep as one self-contained page: the table, curves, the best point's recipe.

examples:
  lorakit sweep report                       # the newest; writes sweeps/NAME/report.html
  lorakit sweep report maya-sweep --out maya-sweep.html --open
"""

from __future__ import annotations

import argparse
import shlex
import webbrowser
from pathlib import Path

from lorakit.cli.terminal.next_step import say_next
from lorakit.show import print_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", default="", metavar="NAME", help="default: the newest")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(args: argparse.Namespace) -> int:
    from lorakit.engines.sweep import best, find_sweep, read_sweep, results_of
    from lorakit.engines.sweep_page import sweep_page
    from lorakit.files import write_atomic

    folder = find_sweep(args.sweep, Path.cwd()).absolute()
    sweep = read_sweep(folder)
    path = args.out or folder / "report.html"
    write_atomic(path, sweep_page(folder, sweep))
    print_text(path)
    if args.open:
        webbrowser.open(path.resolve().as_uri())
    name = shlex.quote(sweep.name)
    first, _ = best(results_of(folder.parents[1], sweep))
    words = f"table {name} --winner recipes/{name}-best.toml" if first else f"run {name}"
    say_next(f"lorakit sweep {words}")
    return 0
