"""What is worth waking somebody for during a run. Judges numbers only; every rule warns once."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from statistics import fmean, median

from lorakit.events import Event

FIRST = 50  # steps that say what is normal for this run
WINDOW = 200  # steps whose mean is compared
MIN_PLATEAU_STEPS = 500

Alarm = tuple[str, str]  # the rule and what it says


class Alarms:
    """Fed with step and validation events; returns warnings. Counts the steps with NaN."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said: set[str] = set()
        self._early: list[float] = []
        self._late: deque[float] = deque(maxlen=10)
        self._before: list[float] = []
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._halfway_seen = False
        self._first_s: list[float] = []
        self._last_s: deque[float] = deque(maxlen=10)
        # by step: validation loss, and training loss then
        self._validations: dict[int, tuple[float, float]] = {}
        self.nan_steps = 0
        self.nan_at: int | None = None  # the first of them

    def step(self, event: Event, took_s: float | None) -> list[Event]:
        found = [*self._slow(took_s)] if took_s is not None else []
        if event.loss is not None:
            found += self._loss(event.step or 0, event.loss)
        return self._warned(found, event.step) if found else []

    def validation(self, event: Event) -> list[Event]:
        return self._warned(self._overfit(event.step or 0, event.loss), event.step)

    def disk(self, free: int, needed: int) -> list[Event]:
        made, wanted = f"{free >> 20} MB are free", f"about {needed >> 20} MB"
        text = f"{made}, the next checkpoint needs {wanted}: make room now"
        return self._warned([("disk", text)] if free < needed else [])

    def _warned(self, found: Iterable[Alarm], step: int | None = None) -> list[Event]:
        new = {rule: text for rule, text in found if rule not in self._said}
        self._said.update(new)
        return [Event("warning", step, text=text, rule=rule) for rule, text in new.items()]

    def _loss(self, step: int, loss: float) -> Iterator[Alarm]:
        if not math.isfinite(loss):
            self.nan_steps += 1
            self.nan_at = self.nan_at or step
            yield "nan", f"the loss is {loss} at step {step}: this LoRA is lost"
            return
        self._recent.append(loss)
        if len(self._early) < FIRST:
            self._early.append(loss)
            return
        self._late.append(loss)
        usual, now = median(self._early), fmean(self._late)
        if len(self._late) == 10 and now >= 2.5 * usual:
            cause = "the learning rate is probably too high"
            yield "explosion", f"the loss has grown from {usual:.3f} to {now:.3f}: {cause}"
        yield from self._plateau(step, loss)

    def _overfit(self, step: int, loss: float | None) -> Iterator[Alarm]:
        if loss is None or not math.isfinite(loss) or not self._recent:
            return
        self._validations.pop(step, None)  # a resumed run may come by once more
        self._validations[step] = (loss, fmean(self._recent))
        last = list(self._validations.items())[-3:]
        (since, (before, trained)), (_, (now, trained_now)) = last[0], last[-1]
        rising = len(last) == 3 and before < last[1][1][0] < now
        if rising and trained > trained_now:
            yield (
                "overfit",
                f"validation loss rises ({before:.3f} to {now:.3f}) while training loss falls:"
                f" overfitting since about step {since}; an earlier checkpoint may be the best one",
            )

    def _slow(self, took_s: float) -> Iterator[Alarm]:
        if len(self._first_s) < FIRST:
            self._first_s.append(took_s)
            return
        self._last_s.append(took_s)
        normal, now = median(self._first_s), median(self._last_s)
        if len(self._last_s) == 10 and now >= max(0.2, 2.5 * normal):
            why = "is the machine hot, swapping or shared?"
            yield "slow", f"{now:.2f} s a step where it was {normal:.2f}: {why}"

    def _plateau(self, step: int, loss: float) -> Iterator[Alarm]:
        """Asked once, half-way: asking often would find one in every run. A flat end is normal."""
        if len(self._before) < WINDOW:
            self._before.append(loss)
        elif not self._halfway_seen and step >= max(MIN_PLATEAU_STEPS, self._total // 2):
            self._halfway_seen = True
            first, now = fmean(self._before), fmean(self._recent)
            if now >= first:
                told = f"({first:.3f} then, {now:.3f} now)"
                yield "plateau", f"the loss has not fallen since step {FIRST} {told}"
