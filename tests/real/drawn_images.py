"""Images for the tests on the real sd-scripts, drawn here."""

from __future__ import annotations

from pathlib import Path


def draw(
    folder: Path, sizes: list[tuple[int, int]], *, caption: str | None = "ball, drawn"
) -> None:
    """A folder of drawn images, each with a caption file."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        picture = Image.new("RGB", (width, height), (40 + 20 * number % 200, 120, 200))
        ImageDraw.Draw(picture).ellipse(
            (width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(250, 200, 20)
        )
        picture.save(folder / f"{number:03}.png")
        if caption is not None:
            (folder / f"{number:03}.txt").write_text(caption, encoding="utf-8")
