"""Pictures drawn for the purpose: crisp, coloured, each seed another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw


def drawing(size: tuple[int, int] = (640, 480), seed: int = 0, mode: str = "RGB") -> Image.Image:
    rng = random.Random(seed)
    image = Image.effect_noise(size, 60).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        w, h = rng.randrange(4, max(5, size[0] // 3)), rng.randrange(4, max(5, size[1] // 3))
        pen.ellipse(
            [x - w, y - h, x + w, y + h],
            fill=tuple(rng.randrange(256) for _ in range(3)),
            outline="black",
        )
    return image.convert(mode)


Photo = Callable[..., Path]


@pytest.fixture
def photo() -> Photo:
    """Writes a drawing and its caption; further options go to Pillow's save."""

    def write(
        path: Path,
        size: tuple[int, int] = (640, 480),
        seed: int = 0,
        *,
        caption: str | None = None,
        mode: str = "RGB",
        image: Image.Image | None = None,
        **options: object,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        (image or drawing(size, seed, mode)).save(
            path, {".jpg": "JPEG"}.get(path.suffix.lower()), **options
        )
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    return write
