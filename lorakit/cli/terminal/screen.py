"""A run on the screen: a bar on a terminal, plain lines elsewhere, NDJSON for programs."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorakit.events import Emit, Event
from lorakit.show import duration, harmless, json_shown, print_text, say

PLAIN_EVERY_S = 30.0  # a plain line at least this far from the last, after the first steps
FIRST_LINES = 3


def json_line(event: Event) -> None:
    """One JSON object a line, on stdout."""
    data = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in event.as_dict().items()
    }
    print_text(json_shown(data), flush=True)


class PlainLines:
    """On stderr, for logs and pipes: phases, files, warnings as they come, steps now and then."""

    def __init__(self) -> None:
        self._steps = 0
        self._next_at = 0.0
        self._phases: set[str | None] = set()

    def __call__(self, event: Event) -> None:
        if event.kind == "step":
            self._step(event)
        elif event.kind == "phase" and event.text in self._phases:
            return  # a training comes back to itself after each checkpoint and sample
        elif line := sentence(event):
            self._phases |= {event.text} if event.kind == "phase" else set()
            say(line)

    def _step(self, event: Event) -> None:
        self._steps += 1
        last = event.total is not None and event.step == event.total
        if self._steps <= FIRST_LINES or last or time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + PLAIN_EVERY_S
            say(f"step {numbers(event).removeprefix('step ')}")


class Bar:
    """Phase, step, epoch, loss, s/step and time left; everything else is printed above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            refresh_per_second=5,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, numbers="")
        self._progress.start()

    def stop(self) -> None:
        with suppress(OSError):  # the terminal is gone
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event.kind == "step":
            done, text = event.step or 0, numbers(event)
            self._progress.update(
                self._task, completed=done, total=event.total, description="training", numbers=text
            )
        elif event.kind == "phase":
            self._progress.update(self._task, description=harmless(event.text or ""))
        elif event.kind == "ended":
            self._progress.stop()
            say(sentence(event))
        elif line := sentence(event):
            style = "yellow" if event.kind == "warning" else None
            self._progress.console.print(line, style=style, markup=False)


@contextmanager
def screen(*, as_json: bool = False) -> Iterator[Emit]:
    """NDJSON when asked for, a bar on a terminal that can draw one, plain lines elsewhere."""
    if as_json or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield json_line if as_json else PlainLines()
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.stop()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """`progress(done, all)`: a bar for what takes its time, silent where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def numbers(event: Event) -> str:
    parts = [f"{event.step}/{event.total}" if event.total else f"step {event.step}"]
    parts += [f"epoch {event.epoch}/{event.epochs}"] if event.epoch and event.epochs else []
    parts += [f"loss {event.loss:.4g}"] if event.loss is not None else []
    parts += [f"{event.rate_s:.2f} s/step"] if event.rate_s else []
    parts += [f"{duration(event.eta_s)} left"] if event.eta_s is not None else []
    return "  ".join(parts)


def sentence(event: Event) -> str:
    """One line about anything but a step; nothing for what needs no words."""
    name = event.text or (Path(event.path).name if event.path else "")
    at = f" at step {event.step}" if event.step is not None else ""
    words = {
        "started": f"run {event.path}",
        "command": event.text,
        "phase": f"{event.text} ...",
        "saved": f"saved {name}{at}",
        "sample": f"sample {event.path}",
        "validation": f"validation loss {event.loss:.4g}{at}" if event.loss is not None else "",
        "warning": f"warning: {event.text}",
        "note": event.text,
        "ended": _ending(event),
    }
    return harmless(words.get(event.kind) or "")


def _ending(event: Event) -> str:
    took = f" after {duration(event.seconds)}" if event.seconds is not None else ""
    path = f": {event.path}" if event.path else ""
    return f"{event.text}{took}, step {event.step} of {event.total}{path}"
