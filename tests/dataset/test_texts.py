"""Words inside pictures: asked for, named with their measure, remembered; and how one gets the reader."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lorakit.cli.main import main
from lorakit.dataset.check.looks import text_faults

Photo = Callable[..., Path]
BOX = [[10, 20], [110, 20], [110, 40], [10, 40]]


class Reader:
    """Reads what it is told, as RapidOCR answers."""

    def __init__(self, lines: list[tuple[list[list[int]], str, float]] | None) -> None:
        self.lines = lines
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, pixels: np.ndarray, **_: object) -> tuple[object, object]:
        self.seen.append(pixels.shape)
        return self.lines, [0.1]


def named(reader: Reader, *paths: Path) -> list[str]:
    return [fault.what for fault in text_faults(reader, paths, lambda _done, _all: None)]


def test_a_picture_with_writing_is_named_with_what_is_read_how_surely_and_on_how_much(
    tmp_path: Path, photo: Photo
) -> None:
    path = photo(tmp_path / "a.jpg", (200, 100))
    reader = Reader([(BOX, "SAMPLE", 0.934), (BOX, "x", 0.99)])
    wanted = '"SAMPLE" is read in it (93% sure), 10.0% of the picture is writing.'
    assert named(reader, path) == [wanted]
    assert named(reader, path) == [wanted]
    assert reader.seen == [(100, 200, 3)], "the second time it is remembered"


@pytest.mark.parametrize("lines", [None, [(BOX, "III", 0.6)], [(BOX, "-", 0.99)]])
def test_nothing_read_and_little_sure_are_no_writing(
    tmp_path: Path, photo: Photo, lines: list[tuple[list[list[int]], str, float]] | None
) -> None:
    assert named(Reader(lines), photo(tmp_path / "a.jpg")) == []


def test_without_the_reader_one_sentence_says_how_to_get_it_and_only_when_it_is_asked_for(
    tmp_path: Path,
    photo: Photo,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    photo(tmp_path / "10_fox/a.jpg")
    assert main(["dataset", "check", str(tmp_path)]) == 0
    assert "RapidOCR" not in "".join(capsys.readouterr())
    assert main(["dataset", "check", str(tmp_path), "--text"]) == 1
    told = capsys.readouterr().err
    assert 'pip install "lorakit[text]"' in told
    assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("rapidocr_onnxruntime"), reason="lorakit[text] is not installed")
@pytest.mark.filterwarnings("default")
def test_a_watermark_is_read_and_a_picture_without_a_letter_is_not_named(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "10_fox/plain.jpg", (640, 480), 1)
    with Image.open(photo(tmp_path / "10_fox/marked.jpg", (640, 480), 2)) as opened:
        image = opened.convert("RGB")
    layer = Image.new("L", image.size)
    ImageDraw.Draw(layer).text((80, 200), "SAMPLE", 200, ImageFont.load_default(60))
    image.paste((255, 255, 255), mask=layer)
    image.save(tmp_path / "10_fox/marked.jpg", quality=92)
    assert main(["dataset", "check", str(tmp_path), "--text", "--json"]) == 0
    told = capsys.readouterr().out
    assert "SAMPL" in told
    assert told.count('"rule": "text"') == 1
