"""What the trainers print: lines in, events out. A line that is not understood is skipped."""

import re
from typing import Any

from lorakit import json_text
from lorakit.events import Event
from lorakit.logfile import text_of

# steps:  33%|###3      | 5/15 [01:12<02:25, 14.55s/it, avr_loss=1.09]      (library/train_util.py)
_BAR = re.compile(rb"(\d+)/(\d+) \[[\d:]+<[\d:?]+, *[^\],]+(?:, (.*?))?\]")
_LOSS = re.compile(rb"avr_loss=([^,\]\s]+)")
_VALIDATION = re.compile(rb"val\w*_loss=([^,\]\s]+)")
_EPOCH = re.compile(r"^epoch (\d+)/(\d+)$")
_TOTAL = re.compile(r"^\s*total optimization steps\b.*?:\s*(\d+)\s*$")
_SAVING = re.compile(r"^saving checkpoint: (.+)$")
_REMOVING = re.compile(r"^removing old checkpoint: (.+)$")
_STATE = re.compile(r"saving (?:last state|state at (?:epoch|step) \d+)")


class Reader:
    """Of one command's lines. What it does not understand it skips."""

    PHASES: tuple[tuple[str, str], ...] = ()  # words in a line -> the phase that begins
    _phase = ""

    def feed(self, line: bytes) -> list[Event]:
        raise NotImplementedError

    def finish(self) -> list[Event]:
        """What was still held back when the output ended."""
        return []

    def phase_in(self, text: str) -> list[Event]:
        return self.new_phase(next((phase for word, phase in self.PHASES if word in text), ""))

    def new_phase(self, phase: str) -> list[Event]:
        if phase in {"", self._phase}:
            return []
        self._phase = phase
        return [Event("phase", text=phase)]


class KohyaText(Reader):
    """Reads sd-scripts' progress bar and markers. `offset` is added to its step numbers: a resumed
    script counts from 0.

    A step's loss comes in a second frame of the same step, so a step is reported when the next one
    begins, or at `finish`.
    """

    # Only the English half, and only words that no wrapped line cuts in two.
    PHASES = (
        ("caching latents", "caching"),
        ("caching text encoder outputs", "caching"),
        ("caching Text Encoder outputs", "caching"),
        ("cache latents", "caching"),
        ("running training", "preparing"),
        ("generating sample images", "sampling"),
    )

    def __init__(self, offset: int = 0, total: int = 0) -> None:
        self._offset = offset
        self._total = total
        self._epoch: int | None = None
        self._epochs: int | None = None
        self._frame: tuple[int, bytes] | None = None
        self._reported = 0
        self._validation: Event | None = None

    def feed(self, line: bytes) -> list[Event]:
        if line.startswith(b"steps:"):
            return [*self._validation_event(), *self._bar(line)]
        if b"validation steps:" in line:
            self._validation = self._validated(line) or self._validation
            return []
        return [*self._validation_event(), *self._marker(text_of(line))]

    def finish(self) -> list[Event]:
        return [*self._validation_event(), *self._step_event()]

    def _bar(self, line: bytes) -> list[Event]:
        start = line.rfind(b"| ")
        match = _BAR.match(line, start + 2) if start > 0 else None
        if match is None:
            return []
        events, done = self.new_phase("training"), int(match[1])
        if self._frame and self._frame[0] != done:
            events += self._step_event()
        self._frame = (done, match[3] or b"")
        return events

    def _validated(self, line: bytes) -> Event | None:
        """Only of the full bar, which may be drawn several times: the last one's loss is the mean
        over the whole validation.
        """
        match, found = _BAR.search(line), _VALIDATION.search(line)
        if match is None or found is None or match[1] != match[2]:
            return None
        return Event("validation", self._step(), epoch=self._epoch, loss=_number(found[1]))

    def _validation_event(self) -> list[Event]:
        found, self._validation = self._validation, None
        return [found] if found else []

    def _step_event(self) -> list[Event]:
        if self._frame is None or self._frame[0] <= self._reported:
            return []
        self._reported, tail = self._frame
        match = _LOSS.search(tail)
        loss = _number(match[1]) if match else None
        step, total = self._reported + self._offset, self._total or None
        return [Event("step", step, total, self._epoch, self._epochs, loss)]

    def _marker(self, text: str) -> list[Event]:
        if match := _EPOCH.match(text):
            self._epoch, self._epochs = int(match[1]), int(match[2])
            return []
        if match := _SAVING.match(text):
            saving = Event("saving", self._step(), epoch=self._epoch, path=match[1])
            return [*self._step_event(), *self.new_phase("saving"), saving]
        if match := _REMOVING.match(text):
            return [Event("removed", path=match[1])]
        if match := _TOTAL.match(text):
            self._total = self._total or int(match[1])
            return []
        if _STATE.search(text):
            return [Event("state", self._step(), epoch=self._epoch, text=text)]
        return self.phase_in(text)

    def _step(self) -> int:
        return (self._frame[0] if self._frame else 0) + self._offset


_KINDS = frozenset(
    ("phase", "step", "saved", "sample", "validation", "best", "nan", "end", "warning")
)


class EmbeddedEvents(Reader):
    """Reads the JSON lines that our own trainer writes to LORAKIT_EVENTS. Its step numbers go on
    through a resumed run.
    """

    def feed(self, line: bytes) -> list[Event]:
        try:
            data = json_text.loads(line)
        except ValueError:
            return []
        kind = data.get("event") if isinstance(data, dict) else None
        if kind not in _KINDS:
            return []
        step, total, epoch, epochs = (
            _integer(data.get(key)) for key in ("step", "total", "epoch", "epochs")
        )
        loss, lr = _number(data.get("loss")), _number(data.get("lr"))
        said = (data.get(key) for key in ("reason", "phase", "text", "message"))
        text, path = next(filter(None, said), None), data.get("path")
        return [Event(kind, step, total, epoch, epochs, loss, lr=lr, path=path, text=text)]


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
