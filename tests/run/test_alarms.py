"""Warnings come once, when they are true, and not otherwise."""

from __future__ import annotations

import math
import random

from lorakit.events import Event
from lorakit.run.watch.alarms import Alarms


def fed(
    losses: list[float], total: int | None = None, seconds: list[float] | None = None
) -> list[str | None]:
    alarms = Alarms(total or len(losses))
    took = seconds or [1.0] * len(losses)
    return [
        warning.rule
        for step, (loss, second) in enumerate(zip(losses, took, strict=True), 1)
        for warning in alarms.step(Event("step", step, loss=loss), second)
    ]


def noisy(count: int, first: float, last: float) -> list[float]:
    rng = random.Random(1)
    return [first + (last - first) * n / count + rng.gauss(0, 0.02) for n in range(count)]


def test_an_ordinary_run_is_left_in_peace() -> None:
    assert fed(noisy(3000, 0.14, 0.09)) == []


def test_nan_is_said_once_and_counted() -> None:
    alarms = Alarms(10)
    said = [alarms.step(Event("step", n, loss=math.nan), 1.0) for n in range(3)]
    assert [len(warnings) for warnings in said] == [1, 0, 0]
    assert alarms.nan_steps == 3


def test_infinity_is_no_number_either() -> None:
    assert fed([0.1, math.inf]) == ["nan"]


def test_a_loss_that_explodes() -> None:
    assert fed([0.1] * 60 + [0.5] * 20) == ["explosion"]


def test_a_loss_that_never_falls() -> None:
    assert fed(noisy(2000, 0.12, 0.13)) == ["plateau"]


def test_a_flat_end_after_a_fall_is_as_it_should_be() -> None:
    assert fed(noisy(300, 0.2, 0.1) + noisy(1200, 0.1, 0.1)) == []


def test_a_short_run_is_never_called_flat() -> None:
    assert fed(noisy(480, 0.12, 0.121)) == []


def test_steps_that_become_slow() -> None:
    assert fed([0.1] * 100, seconds=[1.0] * 70 + [4.0] * 30) == ["slow"]


def test_one_long_step_is_sleep_or_sampling_not_slowness() -> None:
    assert fed([0.1] * 100, seconds=[1.0] * 70 + [3600.0] + [1.0] * 29) == []


def test_validation_that_rises_while_training_falls() -> None:
    alarms, said = Alarms(900), []
    for step, loss in enumerate(noisy(900, 0.2, 0.1), 1):
        alarms.step(Event("step", step, loss=loss), 1.0)
        if step % 200 == 0:
            said += alarms.validation(Event("validation", step, loss=0.1 + step / 5000))
    assert [warning.rule for warning in said] == ["overfit"]
    assert "since about step 200" in (said[0].text or "")


def test_validation_that_falls_is_not_spoken_of() -> None:
    alarms = Alarms(900)
    alarms.step(Event("step", 1, loss=0.1), 1.0)
    assert not any(
        alarms.validation(Event("validation", step, loss=1 / step)) for step in (1, 2, 3, 4)
    )


def test_a_disk_too_small_for_the_next_checkpoint() -> None:
    alarms = Alarms(9)
    assert alarms.disk(10 << 20, 5 << 20) == []
    assert [warning.text for warning in alarms.disk(1 << 20, 5 << 20)] == [
        "1 MB are free, the next checkpoint needs about 5 MB: make room now"
    ]
    assert alarms.disk(1 << 20, 5 << 20) == []
