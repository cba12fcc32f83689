"""What is worth waking somebody for during a run. Judges numbers only; every rule warns once."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, median

from lorakit.events import Event

FIRST = 50  # steps that say what is normal for this run
WINDOW = 200  # steps whose mean is compared
MIN_PLATEAU_STEPS = 500


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
        self._normal_s: list[float] = []
        self._last_s: deque[float] = deque(maxlen=10)
        # step, validation loss, training loss then
        self._validations: list[tuple[int, float, float]] = []
        self.nan_steps = 0
        self.nan_at: int | None = None  # the first of them

    def step(self, event: Event, took_s: float | None) -> list[Event]:
        found = self._slow(event, took_s) if took_s is not None else []
        loss = event.loss
        if loss is None:
            return found
        if not math.isfinite(loss):
            self.nan_steps += 1
            self.nan_at = self.nan_at or event.step
            text = f"the loss is {loss} at step {event.step}: this LoRA is lost"
            return [*found, *self._once("nan", event.step, text)]
        self._recent.append(loss)
        if len(self._early) < FIRST:
            self._early.append(loss)
            return found
        self._late.append(loss)
        return [*found, *self._explosion(event), *self._plateau(event)]

    def validation(self, event: Event) -> list[Event]:
        if event.loss is None or not math.isfinite(event.loss) or not self._recent:
            return []
        step = event.step or 0
        self._validations = [v for v in self._validations if v[0] != step] + [
            (step, event.loss, fmean(self._recent))
        ]
        last = self._validations[-3:]
        rising = len(last) == 3 and last[0][1] < last[1][1] < last[2][1]
        if not (rising and last[0][2] > last[2][2]):
            return []
        return self._once(
            "overfit",
            event.step,
            f"validation loss rises ({last[0][1]:.3f} to {last[2][1]:.3f}) while training loss"
            f" falls: overfitting since about step {last[0][0]}; an earlier checkpoint may be"
            " the best one",
        )

    def disk(self, free: int, needed: int) -> list[Event]:
        if needed <= 0 or free >= needed:
            return []
        return self._once(
            "disk",
            None,
            f"{free >> 20} MB are free, the next checkpoint needs about {needed >> 20} MB: make"
            " room now",
        )

    def _slow(self, event: Event, took_s: float) -> list[Event]:
        if len(self._normal_s) < FIRST:
            self._normal_s.append(took_s)
            return []
        self._last_s.append(took_s)
        normal, now = median(self._normal_s), median(self._last_s)
        if len(self._last_s) < 10 or now < 0.2 or now < 2.5 * normal:
            return []
        return self._once(
            "slow",
            event.step,
            f"{now:.2f} s a step where it was {normal:.2f}: is the machine hot, swapping or"
            " shared?",
        )

    def _explosion(self, event: Event) -> list[Event]:
        if len(self._late) < 10 or fmean(self._late) < 2.5 * median(self._early):
            return []
        return self._once(
            "explosion",
            event.step,
            f"the loss has grown from {median(self._early):.3f} to {fmean(self._late):.3f}: the"
            " learning rate is probably too high",
        )

    def _plateau(self, event: Event) -> list[Event]:
        """Asked once, half-way: a loss is so noisy that asking often would find a plateau in every
        run. A flat end is normal.
        """
        if len(self._before) < WINDOW:
            self._before.append(event.loss or 0.0)
            return []
        if self._halfway_seen or (event.step or 0) < max(MIN_PLATEAU_STEPS, self._total // 2):
            return []
        self._halfway_seen = True
        first, now = fmean(self._before), fmean(self._recent)
        if now < first:
            return []
        return self._once(
            "plateau",
            event.step,
            f"the loss has not fallen since step {FIRST} ({first:.3f} then, {now:.3f} now)",
        )

    def _once(self, rule: str, step: int | None, text: str) -> list[Event]:
        if rule in self._said:
            return []
        self._said.add(rule)
        return [Event("warning", step, text=text, rule=rule)]
