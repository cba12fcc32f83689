from __future__ import annotations

import pytest

from lorakit.dataset.split import solve
from lorakit.errors import RecipeError


def repeats(images: tuple[int, ...], draws: float, ratio: tuple[float, ...]) -> tuple[int, ...]:
    return solve(images, draws, ratio)


def test_of_all_roundings_the_one_nearest_to_total_and_shares_is_taken() -> None:
    assert repeats((7, 3), 100, (4, 1)) == (
        11,
        7,
    )  # 77 + 21; 12 and 6 would be 102 in all, but further from 4:1


def test_no_subset_is_left_without_a_draw() -> None:
    assert repeats((1000, 10), 100, (1, 1)) == (1, 5)


def test_more_subsets_than_can_all_be_tried_are_rounded_one_by_one() -> None:
    assert repeats((10,) * 11, 10 * 11 * 2.6, (1,) * 11) == (3,) * 11
    assert repeats((10,) * 11, 11, (1,) * 11) == (1,) * 11


def test_more_than_ten_thousand_repeats_are_taken_for_a_mistake() -> None:
    assert repeats((1,), 10_000, (1,)) == (10_000,)
    with pytest.raises(RecipeError, match="10,001 repeats"):
        repeats((1, 100), 10_001 * 2, (1, 1))
