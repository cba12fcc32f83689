"""Pictures that other people sent: what is opened, what is refused, and in which words."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import drawing
from PIL import Image

from lorakit.dataset.build.fit import Settings, render
from lorakit.dataset.captions.tagger import square
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.check.looks import look
from lorakit.dataset.scan import scan
from lorakit.errors import RecipeError
from lorakit.pictures.open import HEIC_REFUSED, KINDS, RefusedError, TooLargeError, opened
from lorakit.report.gallery import Budget, shrink

Photo = Callable[..., Path]
HEIC = b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(range(256)) * 8


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """PostScript under a photo's name, which writes a file when somebody runs it."""
    path = tmp_path / "photo.jpg"
    path.write_text(
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\n({tmp_path / 'ran'}) (w) file closefile\nshowpage\n%%EOF\n"
    )
    return path


def test_a_photo_that_is_a_program_is_never_run(program: Path) -> None:
    assert "not a picture" in look(program).problem
    with pytest.raises(RefusedError):
        render(program, Settings("none"))
    with pytest.raises(RecipeError):
        square(program, 64)
    assert shrink([program], Budget(64, 1, 10_000))[0].fault
    assert os.listdir(program.parent) == ["photo.jpg"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "PSD"])  # Pillow writes no PSD
def test_every_kind_that_is_named_can_be_opened(tmp_path: Path, kind: str) -> None:
    drawing((64, 48)).save(tmp_path / "a", kind)
    with opened(tmp_path / "a") as image:
        assert image.format == kind
        image.load()


def test_an_iphone_photo_renamed_to_jpg_says_that_it_is_heic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorakit.pictures.open.reads_heic", lambda: False)
    (tmp_path / "IMG_1.jpg").write_bytes(HEIC)
    assert look(tmp_path / "IMG_1.jpg").problem == HEIC_REFUSED
    with pytest.raises(RefusedError, match="HEIC"):
        render(tmp_path / "IMG_1.jpg", Settings("none"))


def test_a_large_picture_is_refused_by_every_reader_without_a_warning(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.png")
    monkeypatch.setattr("lorakit.pictures.open.MAX_PIXELS", 1000)
    assert look(path).bomb
    assert shrink([path], Budget(64, 1, 10_000))[0].fault == "too large to be shown"
    with pytest.raises(TooLargeError, match="640x480"):
        render(path, Settings("none"))


def test_a_picture_that_pillow_would_warn_of_is_measured_in_silence(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not look(path).problem
    assert told == []


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(RefusedError, match="not a file"), opened(tmp_path / "a.jpg"):
        pass


def test_a_second_picture_hidden_in_a_phones_jpeg_is_no_animation(tmp_path: Path) -> None:
    first, second = drawing((320, 240), 1), drawing((160, 120), 2)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "b.png", save_all=True, append_images=[drawing((320, 240), 2)])
    assert not look(tmp_path / "a.jpg").animated
    assert look(tmp_path / "b.png").animated


def test_a_turned_copy_of_a_picture_is_found_to_be_the_same(tmp_path: Path) -> None:
    picture = drawing((640, 480), 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "upright.jpg")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    assert (
        look(tmp_path / "upright.jpg").dhash ^ look(tmp_path / "turned.jpg").dhash
    ).bit_count() <= 2


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("PNG", "Rename it to a.png, or convert it"), ("TIFF", "Convert it: lorakit dataset prepare")],
)
def test_a_rename_is_advised_only_to_what_kohya_reads(
    tmp_path: Path, kind: str, remedy: str
) -> None:
    (tmp_path / "10_fox").mkdir()
    drawing((128, 128)).save(tmp_path / "10_fox/a.jpg", kind)
    assert [
        remedy in fault.hint
        for fault in check(scan(tmp_path), CheckSettings())
        if fault.rule == "extension-content"
    ] == [True]


@pytest.mark.parametrize(
    ("name", "remedy"), [("a.heic", "Export it as JPEG."), ("a.tiff", "prepare converts it")]
)
def test_a_conversion_is_promised_only_where_we_can_do_it(
    tmp_path: Path, name: str, remedy: str
) -> None:
    (tmp_path / "10_fox").mkdir()
    (tmp_path / "10_fox" / name).write_bytes(b"x")
    assert [
        remedy in fault.hint
        for fault in scan(tmp_path).faults
        if fault.rule == "extension-unsupported"
    ] == [True]
