"""Control pictures: what a picture is made from, in a folder of their own, by the picture's stem;
stem_0, stem_1 where there are several. Pure.
"""

from collections.abc import Iterable
from pathlib import Path

from lorakit.dataset.facts import is_image_name


def controls_of(
    pictures: Iterable[Path], folder: Path, *, numbered: bool
) -> dict[Path, list[Path]]:
    """As musubi-tuner finds them: long names first, so that fox_1 has its own, and fox the rest."""
    left = sorted(one for one in folder.iterdir() if is_image_name(one.name))
    found: dict[Path, list[Path]] = {}
    for picture in sorted(pictures, key=lambda one: len(one.name), reverse=True):
        stem = picture.stem
        own = [
            one
            for one in left
            if one.stem == stem or (numbered and one.name.startswith(f"{stem}_"))
        ]
        left = [one for one in left if one not in own]
        found[picture] = own
    return found


def unordered(picture: Path, own: list[Path]) -> bool:
    """Two of one name, or one with something else behind the picture's name than a number."""
    ends = [one.stem.removeprefix(picture.stem) for one in own]
    return len({*ends}) < len(ends) or not all(not end or end[1:].isdigit() for end in ends)
