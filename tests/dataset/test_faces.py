"""The optional detector, where it is installed (the extra `face`): on a drawn face, so that nobody real is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.prepare import prepare

WALL = "#8fa7b5"


def portrait(
    at: tuple[int, int], size: tuple[int, int] = (1600, 1200), r: int = 170
) -> Image.Image:
    image = Image.new("RGB", size, WALL)
    pen, (x, y) = ImageDraw.Draw(image), at
    pen.rectangle([x - 1.6 * r, y + 1.5 * r, x + 1.6 * r, size[1]], fill="#334d7a")
    pen.rectangle([x - 0.4 * r, y + 0.9 * r, x + 0.4 * r, y + 1.7 * r], fill="#d9a98c")
    pen.pieslice([x - 1.1 * r, y - 1.5 * r, x + 1.1 * r, y + 0.9 * r], 180, 360, fill="#3a2a20")
    pen.ellipse([x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 1.28 * r], fill="#e6b99b")
    for eye in (x - 0.38 * r, x + 0.38 * r):
        pen.ellipse([eye - 0.18 * r, y - 0.19 * r, eye + 0.18 * r, y - 0.01 * r], fill="white")
        pen.ellipse([eye - 0.08 * r, y - 0.18 * r, eye + 0.08 * r, y - 0.02 * r], fill="#2b1a10")
        pen.arc(
            [eye - 0.24 * r, y - 0.4 * r, eye + 0.24 * r, y],
            200,
            340,
            fill="#3a2a20",
            width=r // 16,
        )
    pen.polygon(
        [(x, y), (x - 0.12 * r, y + 0.38 * r), (x + 0.12 * r, y + 0.38 * r)], fill="#cf9a7c"
    )
    pen.ellipse([x - 0.32 * r, y + 0.58 * r, x + 0.32 * r, y + 0.76 * r], fill="#b5544f")
    return image


def test_a_crop_follows_the_face_and_a_picture_without_one_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait((1250, 420)).save(tmp_path / "in/right.png")
    portrait((400, 500)).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "in/turned.jpg", exif=exif, quality=92
    )
    Image.new("RGB", (800, 600), WALL).save(tmp_path / "in/wall.png")
    jobs = jobs_of(
        tmp_path / "data",
        Settings("crop", (256, 256), focus="face", format="png"),
        source=tmp_path / "in",
        trigger="fox",
    )
    outcome = prepare(tmp_path / "data", jobs)
    assert [(Path(note.where).name, note.rule) for note in outcome.notes] == [
        ("wall.png", "faceless")
    ]
    for name in ("right", "turned"):
        with Image.open(tmp_path / f"data/10_fox/{name}.png") as image:
            red, green, blue = image.resize((1, 1), box=(78, 108, 178, 148)).getpixel((0, 0))
        assert red > green > blue, name  # skin in the middle, where the wall would be blue


def test_without_the_detector_the_way_to_get_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.util import find_spec

    if find_spec("mediapipe"):
        pytest.skip("the detector is installed")
    from lorakit.cli.main import main

    assert (
        main(
            [
                "dataset",
                "prepare",
                str(tmp_path / "data"),
                "--from",
                str(tmp_path),
                "--fit",
                "crop",
                "--focus",
                "face",
            ]
        )
        == 1
    )
    assert 'pip install "lorakit[face]"' in capsys.readouterr().err
