"""The script: arguments in, exit code out. What goes wrong is explained in words."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from lorakit.embedded import arguments
from lorakit.errors import LorakitError, TrainingFailed
from lorakit.trainers.embedded import SCRIPTS


def main(family: str, argv: Sequence[str] | None = None) -> int:
    """0 done, 1 refused before the start, 4 failed, 5 not finite, 130 and 143 stopped."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait for each other spin; where other programs want the cores too, that made
        # a run of 7 s take 34 to 94.
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        args = arguments.read(SCRIPTS[family].name, sys.argv[1:] if argv is None else argv)
        return train(family, args)
    except LorakitError as error:
        print(words(error), file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:  # a full disk, most often
        said = f"stopped: {error}. What was saved before is intact."
        print(said, file=sys.stderr, flush=True)
        return TrainingFailed.exit_code


def words(error: LorakitError) -> str:
    """Every fault on a line that begins with "error: ": by that lorakit finds it in the log."""
    wrong = [f"error: {fault}" for fault in error.faults if fault.severity == "error"]
    lines = [*wrong, error.message] if wrong else [f"error: {error.message}"]
    return "\n".join([*lines, *([error.hint] if error.hint else [])])


def train(family: str, args: argparse.Namespace) -> int:
    from lorakit.embedded.training import signals, world
    from lorakit.embedded.training.loop import Loop
    from lorakit.embedded.training.session import prepare

    place = world.enter(args)
    signals.exit_at_once()
    try:
        place.say(f"accelerator device: {place.device}")
        return Loop(prepare(args, place, family)).run()
    finally:
        place.close()


def leave(code: int) -> NoReturn:
    """All is written and closed; to take gigabytes of modules apart would cost most of a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
