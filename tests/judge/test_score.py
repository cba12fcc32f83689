"""From losses to a judgement: what is listed, what is behind, what is broken, and when nothing is said."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import fmean

import pytest

from lorakit.judge.score import Cell, interval, judge, ratios, student
from lorakit.runs.record import Judged

BASE = {"held": [[0.2, 0.4]] * 8, "train": [[0.2, 0.4]] * 8, "drawn": [[0.0, 0.0]] * 3}
WOBBLE = (0.02, -0.02, 0.01, -0.01, 0.03, -0.03, 0.0, 0.0)


def cell(
    label: str,
    place: int,
    strength: float,
    gain: float,
    drift: float = 0.1,
    *,
    wobble: Sequence[float] = WOBBLE,
    train: float | None = None,
) -> Cell:
    """A cell whose losses are those of the base times e to the `gain`, a little different on each picture."""
    held = [[0.2 * math.exp(gain + w), 0.4 * math.exp(gain + w)] for w in wobble]
    losses: dict[str, Sequence[Sequence[float | None]]] = {"held": held, "drawn": [[drift] * 2] * 3}
    if train is not None:
        losses["train"] = [[0.2 * math.exp(train), 0.4 * math.exp(train)]] * len(wobble)
    return Cell(f"{label}.safetensors", label, place, strength, losses)


def verdicts(found: Judged) -> Mapping[str, str]:
    return {f"{one.label} {one.strength:g}": one.verdict for one in found.cells}


def test_cells_that_cannot_be_told_apart_are_listed_and_the_others_are_behind() -> None:
    other = (-0.02, 0.02, -0.03, 0.03, 0.0, 0.01, -0.01, 0.02)
    found = judge(
        BASE,
        [
            cell("epoch 1", 0, 1.0, -0.2, 0.01),
            cell("epoch 2", 1, 0.8, -0.70, 0.1, wobble=other),
            cell("epoch 2", 1, 1.0, -0.71, 0.3),
        ],
    )
    assert verdicts(found) == {
        "epoch 2 0.8": "listed",
        "epoch 2 1": "listed",
        "epoch 1 1": "behind",
    }
    assert found.winner is None
    assert found.reason.startswith("epoch 2 at 0.8: its loss on held-out pictures is 50 % below")
    assert "not told apart from the lowest (epoch 2 at 1)" in found.reason


def test_the_listed_cell_that_changes_other_pictures_least_stands_first() -> None:
    found = judge(BASE, [cell("epoch 1", 0, 1.0, -0.7, 0.5), cell("epoch 2", 1, 1.0, -0.7001, 0.2)])
    assert [one.label for one in found.cells] == ["epoch 2", "epoch 1"]


def test_a_winner_is_named_only_where_every_other_cell_is_told_apart() -> None:
    found = judge(BASE, [cell("epoch 1", 0, 1.0, -0.2), cell("epoch 2", 1, 1.0, -0.9)])
    assert found.winner is not None
    assert found.winner.label == "epoch 2"
    assert found.reason.endswith("every other cell measured is told apart from it.")


def test_cells_worse_than_the_base_are_named_broken_and_never_listed() -> None:
    cells = [cell("epoch 1", 0, 1.0, 0.4), cell("epoch 2", 1, 1.0, 3.0, 9.0)]
    found = judge(BASE, cells)
    assert set(verdicts(found).values()) == {"broken"}
    assert found.notes[0].startswith("Worse than the base on held-out pictures: every cell.")
    assert not found.reason
    said = judge(BASE, [*cells, cell("epoch 3", 2, 1.0, -0.4)]).notes[0]
    assert said.startswith("Worse than the base on held-out pictures: epoch 1 at 1, epoch 2 at 1.")


def test_a_loss_that_is_not_finite_is_broken() -> None:
    lost = Cell("a", "epoch 1", 0, 1.0, {"held": [[None, 0.1]] * 8, "drawn": [[None]]})
    found = judge(BASE, [lost, cell("epoch 2", 1, 1.0, -0.5)])
    assert verdicts(found) == {"epoch 1 1": "broken", "epoch 2 1": "listed"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_under_three_held_out_pictures_nothing_is_ranked_but_broken_cells_are_still_named(
    count: int,
) -> None:
    base = {**BASE, "held": BASE["held"][:count]}
    sound, broken = cell("epoch 1", 0, 1.0, -0.5), cell("epoch 2", 1, 1.0, -0.5)
    losses = [{**one.losses, "held": one.losses["held"][:count]} for one in (sound, broken)]
    losses[0]["train"] = [[0.1, 0.2]] * 8
    losses[1]["train"] = [[0.4, 0.9]] * 8
    cells = [Cell("a", "epoch 1", 0, 1.0, losses[0]), Cell("b", "epoch 2", 1, 1.0, losses[1])]
    found = judge(base, cells)
    assert verdicts(found) == {"epoch 1 1": "unranked", "epoch 2 1": "broken"}
    assert not found.reason
    assert found.winner is None


def test_a_run_that_still_gains_by_strength_and_steps_is_told_to_train_longer() -> None:
    cells = [
        cell("epoch 1", 0, 1.0, -0.1),
        cell("epoch 1", 0, 1.2, -0.15),
        cell("epoch 2", 1, 1.0, -0.3),
        cell("epoch 2", 1, 1.2, -0.4),
    ]
    assert "Train longer" in judge(BASE, cells).notes[-1]
    cells[-1] = cell("epoch 2", 1, 1.2, -0.29)
    assert not any("Train longer" in note for note in judge(BASE, cells).notes)


def test_the_gap_between_training_and_held_out_pictures_is_a_note_about_memory() -> None:
    found = judge(BASE, [cell("epoch 1", 0, 1.0, -0.3, train=-2.0), cell("epoch 2", 1, 1.0, -0.3)])
    assert "overfits" in found.notes[-1]
    assert {one.gap for one in found.cells} == {1.7, None}


def test_every_timestep_counts_alike_however_large_its_loss() -> None:
    assert ratios([[0.2, 0.01]], [[0.4, 0.02]]) == [pytest.approx(math.log(0.5))]
    assert ratios([[0.4, 0.01]], [[0.4, 0.04]]) == [pytest.approx(math.log(0.5))]


@pytest.mark.parametrize(("freedom", "point"), [(2, 4.303), (4, 2.776), (9, 2.262), (100, 1.984)])
def test_students_t_is_near_its_table(freedom: int, point: float) -> None:
    assert student(freedom) == pytest.approx(point, rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10])
def test_intervals_cover_as_often_as_they_claim(count: int) -> None:
    chance = random.Random(count)
    samples = ([chance.gauss(1.0, 1.0) for _ in range(count)] for _ in range(200))
    hits = [low <= 1.0 <= high for low, high in map(interval, samples)]
    assert 0.91 <= fmean(hits) <= 0.99
