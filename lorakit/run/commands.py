"""A run of several commands as one. `python -m lorakit.run.commands RUN_DIR` is the run's leader:
it starts them in order inside its own session, so that they are followed, stopped and adopted as
one program would be. The record says which commands; the trainer says which of them need not run
again, and what is wrong with what they left. Where each begins and how it ends stands in the log.
"""

import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.proc import start_inside
from lorakit.runs.ran_from import CommandRun
from lorakit.runs.record import Record, read_record
from lorakit.trainers.base import Command, Work
from lorakit.trainers.table import trainer

SAID = b"lorakit: command "
RUNNING = "running"
_LINE = re.compile(r"lorakit: command (\d+) of \d+ \(.*?\): (\w+)(?:, (.*))?")


def work_of(run_dir: Path, record: Record) -> Work:
    """The run as its trainer is asked about it."""
    settings = {key: one.value for key, one in record.settings.get("train", {}).items()}
    return Work(run_dir, record.family, settings, record.output_dir(run_dir), record.output_name)


def leader(run_dir: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "lorakit.run.commands", str(run_dir))


def read_line(line: str) -> tuple[int, str, str] | None:
    """Which command (from 0), its state, and what there is to say about it."""
    found = _LINE.fullmatch(line)
    return found and (int(found[1]) - 1, found[2], found[3] or "")


def at_work(commands: Sequence[CommandRun]) -> str:
    """The command before the training that is at work, or was last; "" once that has begun."""
    if not commands or commands[-1].state:
        return ""
    place = max((n for n, one in enumerate(commands) if one.state), default=0)
    return numbered(commands, place)


def numbered(commands: Sequence[CommandRun], place: int) -> str:
    return f"{commands[place].name} ({place + 1} of {len(commands)})"


def lead(run_dir: Path) -> int:
    """The exit code of what ended it; negative for a signal."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda seen, _frame: asked.append(seen))
    record = read_record(run_dir)
    who, work = trainer(record.trainer.name), work_of(run_dir, record)
    *before, training = (Command(one.argv, one.name) for one in record.commands)
    for place, command in enumerate((*before, training), 1):
        if asked:
            return -asked[0]
        head = f"\nlorakit: command {place} of {len(before) + 1} ({command.name}): "
        try:
            if command is not training and (why := who.needless(command, work)):
                _say(f"{head}skipped, {why}")
                continue
            _say(f"{head}{RUNNING}")
            code, took_s = _ended(command, asked)
            if asked and command is not training:
                _say(f"{head}stopped")
                return code or -asked[0]
            fault = "" if code or command is training else who.fault_after(command, work)
        except (LorakitError, OSError) as error:
            code, fault = 1, str(error)
        if code or fault:
            ending = f"signal {-code}" if code < 0 else f"exit code {code}"
            _say(f"{head}failed, {fault or ending}")
            return code or 1
        _say(f"{head}done, {took_s:.1f} s")
    return 0


def _ended(command: Command, asked: list[int]) -> tuple[int, float]:
    """Code and seconds. Who stops the run signals its group, but maybe before the child is born."""
    began, child = time.monotonic(), start_inside(command.argv)
    if asked:
        child.send_signal(asked[-1])
    return child.wait(), time.monotonic() - began


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = lead(Path(sys.argv[1]))
    if code < 0:
        with suppress(OSError):  # SIGKILL takes no handler
            signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    sys.exit(code)
