"""Caches of an earlier run beside the images: which are stale, and which claim a wrong size."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lorakit.dataset.facts import ImageFacts
from lorakit.dataset.rules import fault
from lorakit.errors import Fault

LATENT_CACHE = re.compile(r"^(?P<stem>.+)_(?P<w>\d{4,})x(?P<h>\d{4,})(?P<suffix>_[a-z0-9]+\.npz)$")
TEXT_CACHE = re.compile(r"(?:_te_outputs|(?:_[a-z0-9]+)?_te)\.npz$")
REMOVE = "Remove it: it will be made again."


def cache_faults(
    folder: Path, images: Sequence[ImageFacts], names: Mapping[str, os.DirEntry[str]]
) -> Iterator[Fault]:
    """Older than what they were made from, or taken for another image's. `images` are sorted."""
    by_stem = {image.path.stem: image for image in images}
    sized: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for name in names if name.endswith(".npz")):
        path, made = folder / name, names[name].stat().st_mtime_ns
        latent, text = LATENT_CACHE.match(name), TEXT_CACHE.sub("", name)
        if latent:
            sized[latent["suffix"]].append(name)
            if latent["stem"] in by_stem and by_stem[latent["stem"]].mtime_ns > made:
                yield fault("cache-stale", path, "is older than its image.", REMOVE)
        elif text in by_stem:
            if max(by_stem[text].mtime_ns, _changed(by_stem[text].caption_path)) > made:
                yield fault("cache-stale", path, "is older than its caption or image.", REMOVE)
        elif name[:-4] in by_stem:
            what = "wins over every newer cache of this image."
            yield fault("cache-old-style", path, what, "Remove it.")
    for suffix, group in sized.items():
        yield from _size_traps(images, group, suffix)


def _changed(caption: Path | None) -> int:
    with suppress(OSError):  # gone since it was read
        return caption.stat().st_mtime_ns if caption else 0
    return 0


def _size_traps(images: Sequence[ImageFacts], caches: list[str], suffix: str) -> Iterator[Fault]:
    """As kohya walks both lists: a name that merely begins with the image's is its own."""
    caches = sorted(caches, key=lambda name: name.rsplit("_", 2)[0])
    at = 0
    for image in images:
        stem, size = image.path.stem, (image.width, image.height)
        while at < len(caches) and caches[at][: len(stem)] < stem:
            at += 1
        if at == len(caches) or caches[at][: len(stem)] != stem:
            continue
        match = LATENT_CACHE.match(caches[at])
        believed = (int(match["w"]), int(match["h"])) if match else size
        if believed != size:
            belief = f"kohya will believe {believed[0]}x{believed[1]}"
            what = f"is {size[0]}x{size[1]}; {belief}, from the name of {caches[at]}."
            hint = f"Remove that file, or every *{suffix} in this folder."
            yield fault("cache-size", image.path, what, hint)
