"""Captions found by what the picture holds, in every version of the dataset nearby."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lorakit.dataset.build.manifest import FOLDER, Manifest
from lorakit.dataset.build.originals import ORIGINALS
from lorakit.dataset.build.sources import images_below
from lorakit.dataset.captions.read import caption_beside
from lorakit.files import sha256

# whether it was edited since lorakit put it there, when it was changed, and where it is
Place = tuple[bool, int, Path]


def captions_for(root: Path, pictures: Iterable[Path], beside: Path) -> dict[Path, Path]:
    """The caption that somebody has worked on last, of each picture that has one anywhere."""
    wanted = list(pictures)
    sizes = {path.stat().st_size for path in wanted}
    found: dict[str, Place] = {}
    for version in _versions(root, beside):
        for digest, place in _captions(version, sizes):
            found[digest] = max(found.get(digest, place), place)
    captions = {}
    for path in wanted:
        known = found.get(sha256(path))
        caption = known[2] if known else caption_beside(path)
        if caption is not None:
            captions[path] = caption
    return captions


def _versions(root: Path, beside: Path) -> list[Path]:
    """Datasets that lie beside this one, or where the next one is to lie; this one first."""
    places = dict.fromkeys([root.parent, beside.parent])
    folders = (one for place in places if place.is_dir() for one in sorted(place.iterdir()))
    others = [one for one in folders if any((one / name).is_dir() for name in (FOLDER, ORIGINALS))]
    return [root, *(one for one in others if one.resolve() != root.resolve())]


def _captions(version: Path, sizes: set[int]) -> Iterator[tuple[str, Place]]:
    for entry in Manifest(version).entries.values():
        caption = caption_beside(version / entry.file)
        if caption is not None and entry.source_stamp[0] in sizes:
            edited = sha256(caption) != entry.caption_sha
            yield entry.source_sha, (edited, caption.stat().st_mtime_ns, caption)
    for path in images_below(version / ORIGINALS):
        caption = caption_beside(path)
        if caption is not None and path.is_file() and path.stat().st_size in sizes:
            yield sha256(path), (False, caption.stat().st_mtime_ns, caption)
