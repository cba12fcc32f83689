"""A check looks at what prepare has made, and at the photo behind it, which bars must not hide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawings import drawing
from PIL import Image, ImageFilter

from lorakit.dataset.build.fit import Fit, Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.scan import scan

Photo = Callable[..., Path]
SIDE = 256


def found(tmp_path: Path, fit: Fit, **pictures: Image.Image) -> dict[str, set[str]]:
    """Rules by picture, of a dataset that was made of these."""
    (tmp_path / "in").mkdir()
    for name, picture in pictures.items():
        picture.save(tmp_path / f"in/{name}.png")
        (tmp_path / f"in/{name}.txt").write_text(f"fox, {name}")
    root = tmp_path / "data"
    add(root, SubsetPlan(5, "fox"), [tmp_path / "in"])
    prepare(root, jobs_of(root, Settings(fit, (SIDE, SIDE))))
    by_name: dict[str, set[str]] = {}
    for fault in check(scan(root), CheckSettings("fox")):
        by_name.setdefault(Path(fault.where).stem, set()).add(fault.rule)
    return by_name


def test_bars_hide_neither_blur_nor_darkness_nor_a_lack_of_pixels(tmp_path: Path) -> None:
    sharp = drawing((600, 200), 1)
    rules = found(
        tmp_path,
        "letterbox",
        sharp=sharp,
        blurred=drawing((600, 200), 2).filter(ImageFilter.GaussianBlur(9)),
        dark=drawing((600, 200), 3).point(lambda value: value // 12),
        small=drawing((150, 100), 4),
    )
    assert "blurry" in rules["blurred"]
    assert rules["dark"] & {"exposure", "flat"}
    assert "small-original" in rules["small"]
    assert not rules.get("sharp")


@pytest.mark.parametrize(("fit", "bars"), [("letterbox", True), ("bucket", False), ("none", False)])
def test_bars_that_prepare_has_made_are_named_once(tmp_path: Path, fit: Fit, *, bars: bool) -> None:
    rules = found(tmp_path, fit, a=drawing((600, 200), 1), b=drawing((200, 600), 2))
    assert ("bars" in rules.get("data", set())) == bars
    assert "border" not in set().union(*rules.values())


def test_a_square_photo_in_a_square_letterbox_has_no_bars(tmp_path: Path) -> None:
    rules = found(tmp_path, "letterbox", a=drawing((400, 400), 1), b=drawing((500, 500), 2))
    assert "bars" not in rules.get("data", set())


def test_bars_that_the_photo_itself_has_are_still_named(tmp_path: Path) -> None:
    barred = Image.new("RGB", (600, 600), "black")
    barred.paste(drawing((600, 300), 1), (0, 150))
    rules = found(tmp_path, "letterbox", barred=barred, fine=drawing((400, 400), 2))
    assert "border" in rules["barred"]


def test_white_bars_do_not_make_twins_of_different_photos(tmp_path: Path) -> None:
    def slope(turn: int) -> Image.Image:
        ramp = np.tile(np.linspace(40, 200, 90, dtype=np.uint8), (900, 1))
        picture = drawing((90, 900), turn)
        return Image.blend(picture, Image.fromarray(ramp).convert("RGB"), 0.3)

    rules = found(
        tmp_path, "letterbox", a=slope(1), b=slope(2).transpose(Image.Transpose.ROTATE_180)
    )
    assert "near-duplicate" not in rules.get("b", set())


def test_what_somebody_has_edited_since_is_judged_as_it_is(tmp_path: Path) -> None:
    found(tmp_path, "letterbox", a=drawing((600, 200), 1).filter(ImageFilter.GaussianBlur(9)))
    drawing((SIDE, SIDE), 3).save(tmp_path / "data/5_fox/a.jpg", quality=95)
    faults = check(scan(tmp_path / "data"), CheckSettings("fox"))
    assert "blurry" not in {fault.rule for fault in faults}
