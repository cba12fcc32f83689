"""Follows one run: its growing log and own events in, enriched events and progress.jsonl out."""

import math
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path

from lorakit.events import Event
from lorakit.logfile import Tail, text_of
from lorakit.run.commands import RUNNING, SAID, numbered, read_line
from lorakit.run.watch.alarms import Alarms
from lorakit.runs.find import seconds_a_step
from lorakit.runs.folder import EVENTS, LOG, PROGRESS
from lorakit.runs.record import Record
from lorakit.trainers.table import trainer

CROWD = 20  # more steps than this in one glance: the screen gets the last of them


class Follower:
    """`poll` is called ten times a second, or ten thousand lines late; both are fine."""

    def __init__(self, run_dir: Path, record: Record, *, write_after: int = 0) -> None:
        """Steps up to `write_after` stand in progress.jsonl already."""
        log_at, events_at = record.process.log_at
        part, self.total = record.part, record.steps.total
        self._log = Tail(run_dir / LOG, log_at)
        self._events = Tail(run_dir / EVENTS, events_at)
        self._progress: Path | None = run_dir / PROGRESS
        self._written = write_after
        self._who = trainer(record.trainer.name)
        self._epochs, self._epochs_before = record.steps.epochs, part.epoch_offset
        self._reader = partial(self._who.log_reader, part.bar_offset, self.total)
        self._text = self._reader()
        self._own = self._who.event_reader()
        self._has_own = False
        self._window: deque[tuple[float, int]] = deque(maxlen=50)
        self.alarms = Alarms(self.total)
        self.commands = record.commands
        self.step = part.bar_offset
        self.loss: float | None = None
        self.validation_loss: float | None = None
        self.phase = ""
        self.end_reason = ""  # what the embedded trainer says about its own end

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
            self._text = self._reader(known[place].name)
        words = ", ".join(filter(None, (f"{numbered(known, place)}: {state}", text)))
        return [*events, Event("command", text=words)]

    def _enrich(self, raw: list[Event], seconds: float) -> list[Event]:
        if before := self._epochs_before:
            raw = [replace(one, epoch=one.epoch and one.epoch + before, epochs=None) for one in raw]
        first = self.step
        steps, warnings = self._steps(raw, seconds)
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
                warnings += self.alarms.validation(event)
                finite = event.loss is not None and math.isfinite(event.loss)
                self.validation_loss = event.loss if finite else None
            elif event.kind == "nan":
                warnings += self.alarms.step(replace(event, loss=math.nan), None)
            elif event.kind == "end":
                self.end_reason = event.text or ""
            step = self.step if event.step is None and first < self.step else event.step
            out.append(replace(event, seconds=round(seconds, 3), step=step))
        return out + warnings

    def _steps(self, raw: list[Event], seconds: float) -> tuple[list[Event], list[Event]]:
        """Those of this run, written down; and what is alarming about them. Steps seen in one
        glance are spread over the time since the last one.
        """
        last = self.total or math.inf
        steps = [
            one for one in raw if one.kind == "step" and one.step is not None and one.step <= last
        ]
        since = self._window[-1][0] if self._window else seconds
        warnings: list[Event] = []
        rows: list[str] = []
        for number, event in enumerate(steps, 1):
            step = event.step or 0
            at = since + (seconds - since) * number / len(steps)
            took = at - self._window[-1][0] if self._window else None
            self._window.append((at, step))
            warnings += self.alarms.step(event, took)
            if step > self._written:
                rows.append(_row(event, at))
            self.step, self.loss = step, self.loss if event.loss is None else event.loss
        self._write(rows)
        return steps, warnings

    def _dated(self, event: Event, seconds: float) -> Event:
        rate, total = self.seconds_a_step, event.total or self.total
        left = max(0, total - (event.step or 0)) * rate
        return replace(
            event,
            seconds=round(seconds, 3),
            total=total,
            epochs=event.epochs or self._epochs,
            rate_s=round(rate, 4) or None,
            eta_s=round(left, 1) if rate else None,
        )

    def _write(self, rows: list[str]) -> None:
        if rows and self._progress is not None:
            try:
                with self._progress.open("a", encoding="utf-8") as file:
                    file.write("".join(rows))
            except OSError:
                self._progress = None  # a full disk ends the record of the curve, not the training


def _row(event: Event, seconds: float) -> str:
    """By hand, as this is the hot path. NaN is written as null: JSON has no NaN."""
    loss = "null" if event.loss is None or not math.isfinite(event.loss) else f"{event.loss:.6g}"
    lr = f', "lr": {event.lr:.6g}' if event.lr is not None else ""
    return (
        f'{{"step": {event.step}, "epoch": {event.epoch or "null"}, "loss": {loss}, "seconds":'
        f" {seconds:.3f}{lr}}}\n"
    )


def positions(run_dir: Path) -> tuple[int, ...]:
    """Bytes of log and events that belong to earlier parts of the run."""
    paths = (run_dir / LOG, run_dir / EVENTS)
    return tuple(path.stat().st_size if path.exists() else 0 for path in paths)
