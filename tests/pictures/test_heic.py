"""An iphone's photos, where what opens them is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawings import drawing
from PIL import Image

from lorakit.cli.main import main
from lorakit.dataset.check.looks import look
from lorakit.dataset.scan import scan

heif = pytest.importorskip("pillow_heif", reason='pip install "lorakit[heic]"')


def written(path: Path, *pictures: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = heif.from_pillow(pictures[0])
    for more in pictures[1:]:
        holder.add_from_pillow(more)
    holder.save(str(path), **options)
    return path


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.heif", "IMG_1.jpg", "IMG_1.png"])
def test_a_heic_becomes_a_picture_to_train_on_whatever_its_name_says(
    tmp_path: Path, name: str
) -> None:
    written(tmp_path / "phone" / name, drawing((320, 240), 3))
    root = tmp_path / "data"
    assert main(["dataset", "add", str(root), str(tmp_path / "phone"), "--trigger", "fox"]) == 0
    assert main(["dataset", "prepare", str(root), "--fit", "letterbox", "--size", "128"]) == 0
    assert main(["dataset", "check", str(root), "--off", "few-images"]) == 0
    (image,) = scan(root).subsets[0].images
    assert (image.path.name, image.width, image.height) == ("IMG_1.jpg", 128, 128)


def test_a_heic_that_was_held_sideways_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "phone/a.heic", drawing((320, 240), 3), exif=exif.tobytes())
    assert look(path).orientation == 1
    root = tmp_path / "data"
    main(["dataset", "add", str(root), str(path), "--trigger", "fox"])
    main(["dataset", "prepare", str(root), "--fit", "none"])
    (image,) = scan(root).subsets[0].images
    assert (image.width, image.height) == (240, 320)


@pytest.mark.slow
def test_a_heic_with_several_pictures_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "burst.heic", drawing((320, 240), 1), drawing((320, 240), 2))
    assert main(["dataset", "add", str(tmp_path / "data"), str(path), "--trigger", "fox"]) == 1
    assert "a HEIC with 2 pictures; export the one you want as JPEG" in capsys.readouterr().out


def test_half_a_heic_is_named(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.heic", drawing((320, 240), 1)).read_bytes()
    (tmp_path / "a.heic").write_bytes(whole[: len(whole) // 2])
    assert look(tmp_path / "a.heic").problem
