"""The photo behind a picture that prepare has made: what fitting hides is seen there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.build.manifest import MadeFile, Manifest
from lorakit.dataset.check.looks import Look, look_at
from lorakit.dataset.rules import fault
from lorakit.errors import Fault, counted

ROOM = 0.97  # of the canvas: less, and there are bars to see


@dataclass(frozen=True)
class Source:
    made: MadeFile
    look: Look

    @property
    def filled(self) -> float:
        """The share of the canvas that shows the photo."""
        (wide, high), canvas = self.made.scaled, self.made.canvas
        return wide * high / (canvas[0] * canvas[1])


def sources_of(root: Path, images: Iterable[Path]) -> dict[Path, Source]:
    """Of every picture that is as prepare made it and whose photo is still there."""
    manifest = Manifest(root)
    made = {root / entry.file: entry for entry in manifest.entries.values()}
    ours = {path: made[path] for path in images if path in made and not manifest.edited(made[path])}
    photos = {path: root / entry.source for path, entry in ours.items()}
    there = {photo for photo in photos.values() if photo.is_file()}
    looks = look_at(root / "originals", sorted(there))
    found = ((path, looks.get(photos[path])) for path in ours)
    return {path: Source(ours[path], look) for path, look in found if look and not look.problem}


def bar_faults(root: Path, sources: Mapping[Path, Source]) -> Iterator[Fault]:
    """Bars, and photos too small for their canvas."""
    barred = [source.filled for source in sources.values() if source.filled < ROOM]
    if barred:
        share = 1 - sum(barred) / len(barred)
        some = f"{len(barred)} of {counted(len(sources), 'picture')}"
        what = f"{some} have bars, {share:.0%} of their area on average, which are learned, too."
        yield fault("bars", root, what, "lorakit dataset prepare RECIPE --fit bucket makes none.")
    for path, source in sources.items():
        sides = zip(source.made.scaled, source.made.canvas, strict=True)
        size, canvas = ("{}x{}".format(*pair) for pair in (source.made.size, source.made.canvas))
        if all(side < 0.95 * room for side, room in sides):
            what = f"its original has {size}, and fills {source.filled:.0%} of {canvas}."
            yield fault("small-original", path, what, "Use a larger one.")
