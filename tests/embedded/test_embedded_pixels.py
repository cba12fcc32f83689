"""From an image file to the numbers that the VAE sees: scaled, cut, turned and coloured as asked."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from PIL import Image as Pillow  # noqa: E402

from lorakit.dataset.buckets import Placement  # noqa: E402
from lorakit.embedded.data.dataset import Image  # noqa: E402
from lorakit.embedded.data.dataset_config import Subset  # noqa: E402
from lorakit.embedded.data.images import pixels, size_ids  # noqa: E402
from lorakit.errors import RecipeError  # noqa: E402


def placed(
    size: tuple[int, int], bucket: tuple[int, int], scaled: tuple[int, int], **subset: Any
) -> Image:
    return Image(
        Path("one.png"), Subset(Path(), **subset), "", size, Placement(bucket, scaled, 0.0), 1
    )


def stripes(width: int, *, greys: int = 256, height: int = 2) -> bytes:
    """Every column has a grey of its own, its number; or `greys` in turn, 100 apart."""
    picture = Pillow.new("L", (width, height))
    picture.putdata(
        [
            column if greys == 256 else column % greys * 100
            for _ in range(height)
            for column in range(width)
        ]
    )
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def columns(tensor: Any) -> list[int]:
    return [round((float(value) + 1) * 127.5) for value in tensor[0, 0]]


def test_pixels_run_from_minus_one_to_one_and_the_middle_is_kept() -> None:
    made = pixels(placed((256, 2), (250, 2), (256, 2)), stripes(256), flip=False)
    assert columns(made) == list(range(3, 253))
    whole = pixels(placed((256, 2), (256, 2), (256, 2)), stripes(256), flip=False)
    assert (float(whole.min()), float(whole.max()), tuple(whole.shape), whole.dtype) == (
        -1.0,
        1.0,
        (3, 2, 256),
        torch.float32,
    )


def test_a_flip_turns_the_picture_around() -> None:
    assert columns(pixels(placed((10, 2), (10, 2), (10, 2)), stripes(10), flip=True)) == list(
        range(9, -1, -1)
    )


def test_a_random_crop_may_be_anywhere_and_only_when_chance_is_given() -> None:
    image = placed((20, 2), (16, 2), (20, 2), random_crop=True)
    seen = {
        columns(pixels(image, stripes(20), flip=False, chance=random.Random(seed)))[0]
        for seed in range(60)
    }
    assert seen == {0, 1, 2, 3, 4}
    assert columns(pixels(image, stripes(20), flip=False))[0] == 2


def test_colours_change_a_little_one_time_in_three() -> None:
    image = placed((64, 2), (64, 2), (64, 2), color_aug=True)
    colours = io.BytesIO()
    Pillow.new("RGB", (64, 2), (200, 60, 30)).save(colours, format="PNG")
    plain = pixels(image, colours.getvalue(), flip=False)
    drawn = [
        pixels(image, colours.getvalue(), flip=False, chance=random.Random(seed))
        for seed in range(90)
    ]
    changed = [float((one - plain).abs().max()) for one in drawn if not torch.equal(one, plain)]
    assert 18 <= len(changed) <= 42
    assert max(changed) < 0.6


def test_a_larger_picture_is_averaged_and_a_smaller_one_interpolated() -> None:
    assert columns(pixels(placed((8, 2), (2, 1), (2, 1)), stripes(8, greys=2), flip=False)) == [
        50,
        50,
    ]
    assert len(set(columns(pixels(placed((4, 2), (16, 8), (16, 8)), stripes(4), flip=False)))) > 3
    nearest = pixels(
        placed((4, 2), (16, 8), (16, 8), resize_interpolation="nearest"), stripes(4), flip=False
    )
    assert columns(nearest) == [column for column in range(4) for _ in range(4)]


def test_a_smaller_size_is_the_mean_of_what_each_pixel_covers_to_the_fraction() -> None:
    """As OpenCV's INTER_AREA, which kohya takes: five columns of 0, 100, 200, 0, 100 in three."""
    made = pixels(placed((5, 3), (3, 2), (3, 2)), stripes(5, greys=3, height=3), flip=False)
    assert columns(made) == [40, 140, 60]
    same = pixels(placed((256, 3), (256, 2), (256, 2)), stripes(256, height=3), flip=False)
    assert columns(same) == list(range(256))


def test_sdxl_gets_the_size_as_stored_the_corner_that_was_cut_and_the_bucket() -> None:
    wide = placed((200, 100), (64, 64), (128, 64))
    assert size_ids(wide, flip=False) == [
        100,
        200,
        16,
        0,
        64,
        64,
    ]  # by kohya's arithmetic: as if it were letterboxed
    tall = placed((95, 200), (64, 64), (64, 135))
    assert [size_ids(tall, flip=flip)[3] for flip in (False, True)] == [16, 17]


def test_a_picture_that_is_a_program_is_not_even_opened() -> None:
    """Pillow would hand PostScript to Ghostscript."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 256 2\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(RecipeError, match="cannot identify image file"):
        pixels(placed((256, 2), (256, 2), (256, 2)), program, flip=False)
