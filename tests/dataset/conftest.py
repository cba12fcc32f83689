"""Pictures for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import drawing
from PIL import Image

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
