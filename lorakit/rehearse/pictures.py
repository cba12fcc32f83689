"""Six neutral pictures with captions, for a rehearsal before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lorakit.files import write_atomic

SHAPES = ((1024, 1024), (896, 1152), (1152, 896), (768, 1344), (1344, 768), (1024, 1024))
TINTS = ("#707070", "#6b7480", "#80746b", "#6f806b", "#7a6b80", "#80806b")


def draw_dataset(place: Path, folders: Sequence[str], trigger: str, extension: str) -> None:
    """Grey gradients in each of these `N_name` folders."""
    from PIL import Image, ImageOps

    for folder in folders:
        for number, (shape, tint) in enumerate(zip(SHAPES, TINTS, strict=True)):
            target = place / folder / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.linear_gradient("L").rotate(90 * number).resize(shape)
            ImageOps.colorize(grey, "#303030", "#d0d0d0", mid=tint).save(target)
            caption = f"{trigger}, a plain background" if trigger else "a plain background"
            write_atomic(target.with_suffix(extension), caption)
