"""Follows one run: the growing log and the trainer's own events in, enriched events out; each step
written to progress.jsonl.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from pathlib import Path

from lorakit.events import Event
from lorakit.logfile import Tail, text_of
from lorakit.run.commands import RUNNING, SAID, numbered, read_line
from lorakit.run.watch.alarms import Alarms
from lorakit.runs.folder import EVENTS, LOG, PROGRESS
from lorakit.runs.rate import seconds_a_step
from lorakit.runs.record import CommandRun
from lorakit.trainers.base import Trainer

Positions = tuple[int, int]  # bytes of log and events that belong to earlier parts of the run
CROWD = 20  # more steps than this in one glance: the screen gets the last of them


class Follower:
    """`poll` is called ten times a second, or ten thousand lines late; both are fine."""

    def __init__(
        self,
        run_dir: Path,
        who: Trainer,
        *,
        total: int,
        epochs: int | None = None,
        offset: int = 0,
        epoch_offset: int = 0,
        at: Positions = (0, 0),
        write_after: int | None = None,
        commands: tuple[CommandRun, ...] = (),
    ) -> None:
        """`commands`: of a run that has several. `write_after`: steps up to this one stand in
        progress.jsonl already; None: a mere onlooker, who writes nothing.
        """
        self._log = Tail(run_dir / LOG, at[0])
        self._events = Tail(run_dir / EVENTS, at[1])
        self._progress = None if write_after is None else run_dir / PROGRESS
        self._written = write_after or 0
        self._who, self._offset, self._epoch_offset = who, offset, epoch_offset
        self._text = who.log_reader(offset, total)
        self._own = who.event_reader()
        self.commands = commands
        self._has_own = False
        self._alarms = Alarms(total)
        self._window: deque[tuple[float, int]] = deque(maxlen=50)
        self.total = total
        self.epochs = epochs
        self.step = offset
        self.loss: float | None = None
        self.validation_loss: float | None = None
        self.phase = ""
        self.end_reason = ""  # what the embedded trainer says about its own end

    @property
    def nan_steps(self) -> int:
        return self._alarms.nan_steps

    @property
    def nan_at(self) -> int | None:
        return self._alarms.nan_at

    @property
    def seconds_a_step(self) -> float:
        return seconds_a_step(self._window)

    def poll(self, seconds: float) -> list[Event]:
        """What happened since the last call; `seconds` is the time since the launch."""
        return self._digest(self._log.read(), self._events.read(), seconds)

    def finish(self, seconds: float) -> list[Event]:
        own = [line for part in self._events.drain() for line in part]
        events: list[Event] = []
        for part in self._log.drain():
            events += self._digest(part, own, seconds)
            own = []
        return events + self._enrich(self._text.finish() if not self._has_own else [], seconds)

    def disk(self, free: int, needed: int) -> list[Event]:
        return self._alarms.disk(free, needed)

    def _digest(self, lines: list[bytes], own: list[bytes], seconds: float) -> list[Event]:
        events = [event for line in own for event in self._own.feed(line)] if self._own else []
        self._has_own = self._has_own or bool(events)
        for line in lines:
            if self.commands and line.startswith(SAID):
                events += self._command(line)
                continue
            found = self._text.feed(line)
            if found and self._has_own:
                found = [event for event in found if event.kind in {"removed", "state"}]
            events += found
        return self._enrich(events, seconds) if events else []

    def _command(self, line: bytes) -> list[Event]:
        """A command of the run begins or ends; each has a reader of its own."""
        said = read_line(text_of(line))
        if said is None or said[0] >= len(self.commands):
            return []
        place, state, text = said
        known = list(self.commands)
        known[place] = replace(known[place], state=state, text=text)
        self.commands = tuple(known)
        events = [] if self._has_own else self._text.finish()
        if state == RUNNING:
            self._text = self._who.log_reader(self._offset, self.total, known[place].name)
        words = ", ".join(filter(None, (f"{numbered(known, place)}: {state}", text)))
        return [*events, Event("command", text=words)]

    def _enrich(self, raw: list[Event], seconds: float) -> list[Event]:
        if before := self._epoch_offset:
            raw = [replace(one, epoch=one.epoch and one.epoch + before, epochs=None) for one in raw]
        steps = [
            event
            for event in raw
            if event.kind == "step"
            and event.step is not None
            and (not self.total or event.step <= self.total)
        ]
        first, since = self.step, self._window[-1][0] if self._window else seconds
        warnings: list[Event] = []
        rows: list[str] = []
        for number, event in enumerate(steps, 1):
            assert event.step is not None
            at = since + (seconds - since) * number / len(
                steps
            )  # steps seen in one glance are spread over it
            took = at - self._window[-1][0] if self._window else None
            self._window.append((at, event.step))
            warnings += self._alarms.step(event, took)
            if event.step > self._written:
                rows.append(_row(event, at))
            self.step, self.loss = event.step, event.loss if event.loss is not None else self.loss
        self._write(rows)
        shown = {id(event) for event in (steps if len(steps) <= CROWD else steps[-1:])}
        out: list[Event] = []
        for event in raw:
            if event.kind == "step":
                if id(event) in shown:
                    out.append(self._dated(event, seconds))
                continue
            if event.kind == "phase" and event.text is not None:
                if event.text == self.phase:  # images, then captions: both are caching
                    continue
                self.phase = event.text
            elif event.kind == "validation":
                warnings += self._alarms.validation(event)
                self.validation_loss = (
                    event.loss if event.loss is not None and math.isfinite(event.loss) else None
                )
            elif event.kind == "nan":
                warnings += self._alarms.step(replace(event, loss=math.nan), None)
            elif event.kind == "end":
                self.end_reason = event.text or ""
            step = self.step if event.step is None and first < self.step else event.step
            out.append(replace(event, seconds=round(seconds, 3), step=step))
        return out + warnings

    def _dated(self, event: Event, seconds: float) -> Event:
        rate = self.seconds_a_step
        total = event.total or self.total
        left = max(0, total - (event.step or 0)) * rate if rate else None
        eta = None if left is None else round(left, 1)
        epochs = event.epochs or self.epochs
        return replace(
            event,
            seconds=round(seconds, 3),
            total=total,
            epochs=epochs,
            rate_s=round(rate, 4) or None,
            eta_s=eta,
        )

    def _write(self, rows: list[str]) -> None:
        if rows and self._progress is not None:
            try:
                with self._progress.open("a", encoding="utf-8") as file:
                    file.write("".join(rows))
            except OSError:
                self._progress = None  # a full disk ends the record of the curve, not the training


def _row(event: Event, seconds: float) -> str:
    """One line of progress.jsonl, formatted by hand: this is the hot path. NaN is written as null:
    JSON has no NaN.
    """
    loss = "null" if event.loss is None or not math.isfinite(event.loss) else f"{event.loss:.6g}"
    lr = f', "lr": {event.lr:.6g}' if event.lr is not None else ""
    return (
        f'{{"step": {event.step}, "epoch": {event.epoch or "null"}, "loss": {loss}, "seconds":'
        f" {seconds:.3f}{lr}}}\n"
    )


def positions(run_dir: Path) -> Positions:
    return _size(run_dir / LOG), _size(run_dir / EVENTS)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
