"""One self-contained page about a run: curves, samples, checkpoints, dataset, what to do next.

examples:
  lorakit report                        # the latest run; writes report.html into its folder
  lorakit report maya --open
  lorakit report maya/20260101-120000 --out maya.html

Every run makes its page at its end. This makes it again, also while a run goes on or after it died.
The page needs no network and contains everything it shows. RUN is a name, NAME/DATE, the beginning
of a date, a path, or `latest`.
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from lorakit.errors import SetupError
from lorakit.runs.find import LATEST, find_run
from lorakit.show import print_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the page there instead of into the run's folder",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(args: argparse.Namespace) -> int:
    from lorakit.report.make import make_report

    run_dir = find_run(args.run)
    try:
        path = make_report(run_dir, args.out)
    except OSError as error:
        raise SetupError(
            f"{args.out or run_dir}: {error.strerror}; the page could not be written."
        ) from error
    print_text(path)
    if args.open:
        webbrowser.open(path.resolve().as_uri())
    return 0
