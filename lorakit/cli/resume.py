"""Go on where a run ended, from its newest intact state.

examples:
  lorakit resume                    # the latest run
  lorakit resume maya
  lorakit resume maya --json
  lorakit resume maya --anyway      # although data, weights, settings or trainer have changed

The embedded trainer goes on byte for byte. sd-scripts restores weights, optimiser and learning
rate; what it cannot restore is said on the screen and in the record. RUN is a name, NAME/DATE, the
beginning of a date, a path, or `latest`. exit codes: as for lorakit train.
"""

from __future__ import annotations

import argparse

from lorakit.cli.terminal.ending import say_outcome
from lorakit.cli.terminal.screen import screen
from lorakit.runs.find import LATEST, find_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="go on although its inputs have changed; the record says which",
    )
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")


def run(args: argparse.Namespace) -> int:
    from lorakit.run.resume.stages import resume_run

    with screen(as_json=args.json) as emit:
        outcome = resume_run(find_run(args.run), anyway=args.anyway, emit=emit)
    return say_outcome(outcome)
