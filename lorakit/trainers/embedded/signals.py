"""SIGINT and SIGTERM: the first lets the step finish and everything be saved, a second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from lorakit.trainers.embedded import EXIT_INTERRUPTED, EXIT_TERMINATED

REASONS = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}
_caught = 0                      # the exit code to end with; 0: none asked for


def listen() -> None:
    """From now on signals are noted instead of ending the process."""
    global _caught  # noqa: PLW0603 - a signal handler has nowhere else to write
    _caught = 0
    signal.signal(signal.SIGINT, _note)
    signal.signal(signal.SIGTERM, _note)


def caught() -> int:
    return _caught


def _note(number: int, _frame: FrameType | None) -> None:
    global _caught  # noqa: PLW0603
    code = 128 + number
    if _caught:
        os._exit(code)
    _caught = code
    os.write(2, b"\nstopping after this step; once more to stop at once\n")
