"""What of a picture is kept and how large it becomes: pure arithmetic, in numbers a person can check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lorakit.dataset.build.fit import Settings, plan_fit, settings_problems

LETTERBOX = Settings("letterbox", (512, 512))
CROP = Settings("crop", (512, 512))


@pytest.mark.parametrize(
    ("source", "scaled"),
    [
        ((1024, 512), (512, 256)),
        ((512, 1024), (256, 512)),
        ((1024, 1024), (512, 512)),
        ((300, 200), (300, 200)),
    ],
)
def test_a_letterbox_fits_the_longer_side_and_never_enlarges(
    source: tuple[int, int], scaled: tuple[int, int]
) -> None:
    geometry = plan_fit(source, LETTERBOX)
    assert (geometry.box, geometry.scaled, geometry.canvas) == ((0, 0, *source), scaled, (512, 512))


@pytest.mark.parametrize(
    ("source", "focus", "box"),
    [
        ((1000, 600), "centre", (200, 0, 800, 600)),
        ((600, 1000), "centre", (0, 200, 600, 800)),
        ((600, 1000), "top", (0, 0, 600, 600)),
        ((1000, 600), "top", (200, 0, 800, 600)),
    ],
)
def test_a_crop_is_cut_from_the_middle_or_the_top(
    source: tuple[int, int], focus: str, box: tuple[int, ...]
) -> None:
    geometry = plan_fit(source, replace(CROP, focus=focus))  # type: ignore[arg-type]
    assert (geometry.box, geometry.scaled) == (box, (512, 512))


def test_a_face_fills_three_fifths_of_the_height_and_stands_in_the_middle() -> None:
    assert plan_fit((4000, 3000), CROP, (1850, 1200, 2150, 1560)).box == (1700, 1080, 2300, 1680)


def test_the_window_around_a_face_at_the_edge_stays_inside() -> None:
    assert plan_fit((4000, 3000), CROP, (0, 0, 300, 360)).box == (0, 0, 600, 600)
    assert plan_fit((4000, 3000), CROP, (3700, 2640, 4000, 3000)).box == (3400, 2400, 4000, 3000)


@pytest.mark.parametrize(
    ("size", "fine"),
    [
        ((1, 1), True),
        ((0, 512), False),
        ((512, 0), False),
        ((8192, 8192), True),
        ((512, 8193), False),
    ],
)
def test_sizes_from_one_to_8192_are_taken(size: tuple[int, int], *, fine: bool) -> None:
    assert (settings_problems(replace(LETTERBOX, size=size)) == []) == fine


@pytest.mark.parametrize(("quality", "fine"), [(0, False), (1, True), (100, True), (101, False)])
def test_qualities_from_1_to_100_are_taken(quality: int, *, fine: bool) -> None:
    assert (settings_problems(replace(LETTERBOX, quality=quality)) == []) == fine
