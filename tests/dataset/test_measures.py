from __future__ import annotations

import io
import random

import numpy as np
import pace
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lorakit.dataset.check.measures import WEIGHTS, dhash, measure, near_pairs, scores, total


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A drawn scene with edges, slopes and flat parts, at a size that needs no scaling up."""
    generator = np.random.default_rng(1)
    image = Image.fromarray(
        np.linspace((60, 90, 160), (210, 190, 120), 1100)
        .astype(np.uint8)[:, None]
        .repeat(1100, axis=1)
    )
    draw = ImageDraw.Draw(image)
    for _ in range(250):
        x, y, r = generator.integers(0, 1100, 3)
        draw.ellipse(
            (x, y, x + r // 8 + 4, y + r // 8 + 4),
            fill=tuple(int(v) for v in generator.integers(20, 235, 3)),
        )
    return image


def score(image: Image.Image) -> float:
    return total(scores(measure(image)))


def test_the_parts_weigh_one_together() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_blur_lowers_sharpness_and_the_score(picture: Image.Image) -> None:
    blurred = picture.filter(ImageFilter.GaussianBlur(8))
    assert measure(blurred).sharpness < measure(picture).sharpness / 10
    assert score(blurred) < score(picture) - 15


def test_a_burnt_out_picture_is_told_by_its_exposure(picture: Image.Image) -> None:
    burnt = picture.point(lambda v: min(255, v * 3))
    assert scores(measure(burnt))["exposure"] < 40 < scores(measure(picture))["exposure"]


def test_grain_is_measured_in_its_own_units(picture: Image.Image) -> None:
    grain = np.random.default_rng(0).normal(0, 12, (1100, 1100, 1))
    noisy = Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)).resize(
        (700, 700), Image.Resampling.NEAREST
    )
    clean = picture.resize((700, 700), Image.Resampling.NEAREST)
    assert measure(clean).noise < 2 < 8 < measure(noisy).noise < 15


def test_heavy_jpeg_shows_its_blocks(picture: Image.Image) -> None:
    stream = io.BytesIO()
    small = picture.resize((640, 640), Image.Resampling.LANCZOS)
    small.save(stream, "JPEG", quality=5)
    assert measure(Image.open(stream)).blocks > measure(small).blocks + 0.3


def test_a_small_picture_scores_less_than_a_large_one(picture: Image.Image) -> None:
    assert score(picture.resize((256, 256), Image.Resampling.LANCZOS)) < score(picture)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (40, 3)])
def test_odd_sizes_are_measured_without_a_word(size: tuple[int, int]) -> None:
    assert 0 <= score(Image.new("RGB", size)) <= 100


def test_a_copy_made_smaller_is_a_near_duplicate_and_another_picture_is_not(
    picture: Image.Image,
) -> None:
    copy = picture.resize((300, 300)).convert("L")
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert near_pairs([dhash(picture), dhash(copy), dhash(other)]) == [
        (0, 1, (dhash(picture) ^ dhash(copy)).bit_count())
    ]


@pytest.mark.slow
def test_all_near_pairs_of_five_thousand_are_found_in_a_second() -> None:
    generator = random.Random(3)
    hashes = [generator.getrandbits(64) for _ in range(4_990)]
    twins = {
        i * 7: hashes[i * 7] ^ (1 << generator.randrange(64)) ^ (1 << generator.randrange(64))
        for i in range(10)
    }
    hashes += twins.values()
    with pace.within(1):
        pairs = near_pairs(hashes, within=5)
    assert {(place, 4_990 + i) for i, place in enumerate(twins)} <= {(i, j) for i, j, _ in pairs}


def test_the_slices_find_what_a_plain_comparison_finds() -> None:
    generator = random.Random(5)
    hashes = list(
        {
            generator.getrandbits(64) & generator.getrandbits(64) & generator.getrandbits(64)
            for _ in range(300)
        }
    )
    plain = [
        (i, j, d)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (d := (hashes[i] ^ hashes[j]).bit_count()) <= 12
    ]
    assert near_pairs(hashes, within=12) == plain


def test_equal_hashes_are_paired_with_the_first_alone() -> None:
    assert near_pairs([7, 0, 0, 0]) == [(0, 1, 3), (1, 2, 0), (1, 3, 0)]
    assert near_pairs([]) == []


def test_the_lines_that_are_looked_at_speak_for_all(picture: Image.Image) -> None:
    grey = picture.resize((600, 600)).convert("L")
    light = np.asarray(grey, dtype=np.float64)
    across = light[1:-1, :-2] + light[1:-1, 2:]
    edges = across + light[:-2, 1:-1] + light[2:, 1:-1] - 4 * light[1:-1, 1:-1]
    assert measure(grey.convert("RGB")).sharpness == pytest.approx(edges.var(), rel=0.15)
    steps = np.abs(np.diff(light, axis=1))
    border, other = steps[:, 7::8].mean(), np.delete(steps, np.s_[7::8], axis=1).mean()
    wanted = (border + 0.5) / (other + 0.5)
    assert measure(grey.convert("RGB")).blocks == pytest.approx(wanted, rel=0.05)
