"""What it prints: lines in, events out."""

import math
import os
import re
from pathlib import Path

from lorakit.catalogue.file_names import EXPERTS
from lorakit.events import Event
from lorakit.logfile import text_of
from lorakit.trainers.progress import Reader

# maya:  33%|###3      | 2/6 [00:04<00:05, 1.42s/it, lr: 1.0e-03 loss: 1.026e-01]
_BAR = re.compile(rb"\| (\d+)/(\d+) \[[^\]]*?, lr: (\S+) loss: ([^\s\]]+)")
_SAVED = re.compile(r"Saved checkpoint to (.+)$")
_OPTIMIZER = re.compile(r"^(?:Saved optimizer to |Could not save optimizer)")
_OOM = re.compile(r"# OOM during training step, skipping batch (\d)/3 #")


class AiToolkitText(Reader):
    """Before the bar moves on, its frame has the old count and the new loss; so a step is told when
    the count rises. A loss that was NaN is printed as 0.
    """

    PHASES = (
        ("Caching latents", "caching"),
        ("Caching text embeddings", "caching"),
        ("Generating Images", "sampling"),
        ("Generating baseline samples", "sampling"),
    )

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._frame: tuple[int, float, float] | None = None  # count, rate, loss
        self._saved: list[Event] = []  # until its optimiser is saved, too

    def feed(self, line: bytes) -> list[Event]:
        if frame := _BAR.search(line):
            return [*self.new_phase("training"), *self._bar(*frame.groups())]
        text = text_of(line)
        if match := _SAVED.search(text):
            step = self._frame[0] + 1 if self._frame else None
            self._saved = [Event("saving", step, path=str(path)) for path in written(match[1])]
            return self.new_phase("saving")
        if _OPTIMIZER.search(text):
            return self.finish()
        if match := _OOM.search(text):
            what = f"out of memory: a batch was left out ({match[1]} of 3) and counted as a step"
            return [Event("warning", text=what, rule="oom-skipped")]
        if text.strip() == "loss is nan":
            return [Event("nan", self._frame[0] + 1 if self._frame else None)]
        return self.phase_in(text)

    def finish(self) -> list[Event]:
        saved, self._saved = self._saved, []
        return saved

    def _bar(self, count: bytes, total: bytes, rate: bytes, loss: bytes) -> list[Event]:
        before, shown = self._frame, float(loss)
        self._frame = (int(count), float(rate), shown or math.nan)
        if before is None or self._frame[0] <= before[0]:
            return []
        step, of = before[0] + 1, self._total or int(total)
        return [Event("step", step, of, loss=before[2], lr=before[1])]


def written(path: str) -> list[Path]:
    """Of a model with two experts it names a file that does not exist: there is one of each. The
    folder is a link to the run's output.
    """
    named = Path(os.path.realpath(path))
    parts = [named.with_name(f"{named.stem}_{part}{named.suffix}") for part in EXPERTS]
    return [one for one in parts if one.is_file()] or [named]
