"""The long-running child: signals the whole run, climbs the ladder; knows nothing of training."""

import contextlib
import os
import signal
import time
from subprocess import Popen

from lorakit.processes import Identity, members


class Child:
    """A run's processes, ours by birth or adopted from a lorakit process that has exited."""

    def __init__(self, identity: Identity, popen: Popen[bytes] | None = None) -> None:
        self.identity = identity
        self._popen = popen

    @property
    def leader_ended(self) -> bool:
        return not self.identity.alive if self._popen is None else self._popen.poll() is not None

    @property
    def return_code(self) -> int | None:
        """The leader's: negative for a signal, None when it still runs or was never our child."""
        return None if self._popen is None else self._popen.poll()

    def anyone_left(self) -> bool:
        return not self.leader_ended or bool(members(self.identity))

    def send(self, number: int) -> None:
        """To the group; beyond it to kill, or where it is empty: parents pass signals on."""
        if self._popen is not None:
            self._popen.poll()
        living = members(self.identity)
        inside = [member for member in living if member.group == self.identity.pid]
        if inside:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.identity.pid, number)
                os.killpg(self.identity.pid, signal.SIGCONT)  # a sleeping one must wake to hear it
        for member in living:
            if member.group != self.identity.pid and (number == signal.SIGKILL or not inside):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member.pid, number)


class Ladder:
    """Interrupt, wait, terminate, wait, kill. Polled, so that the log is followed meanwhile."""

    def __init__(self, child: Child, interrupt_s: float, terminate_s: float) -> None:
        self._child = child
        self._rungs = [
            (int(signal.SIGINT), interrupt_s),
            (int(signal.SIGTERM), terminate_s),
            (int(signal.SIGKILL), 5.0),
        ]
        self._next_at: float | None = None
        self.sent: list[int] = []

    @property
    def started(self) -> bool:
        return bool(self.sent)

    def start(self) -> None:
        if not self.started:
            self._climb()

    def kill(self) -> None:
        self._rungs = self._rungs[-1:]
        self._climb()

    def poll(self) -> None:
        if self._next_at is not None and time.monotonic() >= self._next_at:
            self._climb()

    def _climb(self) -> None:
        number, wait_s = self._rungs[0]
        # kill is repeated: a worker may have been born meanwhile
        self._rungs = self._rungs[1:] or self._rungs
        self._child.send(number)
        self.sent.append(number)
        self._next_at = time.monotonic() + wait_s


class Signals:
    """While open, Ctrl-C, SIGTERM and SIGHUP are counted, and a closed pipe is only an error."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._old: dict[int, object] = {}

    def __enter__(self) -> "Signals":  # noqa: PYI034  (Self begins with Python 3.11)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._set(number, lambda number, _frame: self.seen.append(number))
        self._set(signal.SIGPIPE, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def hurried(self) -> bool:
        """Asked twice. A closing terminal may send SIGHUP twice; that is not impatience."""
        return sum(number in {signal.SIGINT, signal.SIGTERM} for number in self.seen) > 1

    def _set(self, number: int, handler: object) -> None:
        # ValueError: not the main thread, so the caller keeps its own handlers
        with contextlib.suppress(ValueError):
            self._old[number] = signal.signal(number, handler)  # type: ignore[arg-type]
