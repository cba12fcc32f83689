"""SIGINT and SIGTERM: before the training they end it; during it the first lets the step finish
and be saved, a second ends at once.
"""

import os
import signal
import threading
import time
from types import FrameType

from lorakit.trainers.embedded import EXIT_INTERRUPTED, EXIT_TERMINATED

REASONS = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}
# A launcher of several processes repeats the terminal's signal to each, and Slurm signals every
# process of a job before lorakit does: not a second request.
ECHO_S = 5.0

_code = 0  # the exit code to end with; 0: none asked for
_since = 0.0
_echo_s = 0.0


def exit_at_once() -> None:
    """Nothing is trained yet, so there is nothing to save."""
    _install(lambda number, _frame: os._exit(128 + number))


def listen(*, together: bool = False) -> None:
    """From now on the first signal is noted. `together`: one of several processes."""
    global _code, _echo_s  # a signal handler has nowhere else to write
    together = together or "SLURM_JOB_ID" in os.environ
    _code, _echo_s = 0, ECHO_S if together else 0.0
    _install(_note)


def caught() -> int:
    return _code


def _install(handler: object) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
        signal.signal(signal.SIGTERM, handler)  # type: ignore[arg-type]


def _note(number: int, _frame: FrameType | None) -> None:
    global _code, _since
    if _code and time.monotonic() - _since >= _echo_s:
        os._exit(128 + number)
    if not _code:
        _code, _since = 128 + number, time.monotonic()
        os.write(2, b"\nstopping after this step; once more to stop at once\n")
