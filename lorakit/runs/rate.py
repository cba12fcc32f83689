"""Seconds a step, from the times at which steps were seen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean, median

from lorakit.runs.record import Record

STEP_PASSES = 3  # a training step costs about three forward passes of each of its pictures
PAUSE = 3.0  # times the usual step: then something else was done, such as drawing a sample


def seconds_a_step(seen: Iterable[tuple[float, int]]) -> float:
    """The mean over (time, step) pairs, pauses between steps left out; 0 where nothing is known."""
    pace = [
        (after - before) / (step - last)
        for (before, last), (after, step) in pairwise(seen)
        if step > last
    ]
    if not pace:
        return 0.0
    usual = median(pace)
    return max(0.0, fmean(one for one in pace if one <= PAUSE * usual or not usual))


def pass_seconds(record: Record) -> float | None:
    """Of one picture through the denoiser once, as far as the run's own steps tell."""
    step_s = record.outcome.seconds_a_step
    pictures = max(1, record.steps.batch_size) * max(1, record.steps.accumulation)
    return step_s / (STEP_PASSES * pictures) if step_s else None
