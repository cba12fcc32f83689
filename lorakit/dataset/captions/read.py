"""What lies beside an image and changes what is trained: its caption and the caches of an earlier
run.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.rules import fault
from lorakit.errors import Fault

CAPTION_SUFFIXES = (".txt", ".caption", ".tags", ".text", ".cap")
HUGE_CAPTION = 16_384  # bytes
LATENT_CACHE = re.compile(r"^(?P<stem>.+)_(?P<w>\d{4,})x(?P<h>\d{4,})(?P<suffix>_[a-z0-9]+\.npz)$")
TEXT_CACHE = re.compile(r"(?:_te_outputs|(?:_[a-z0-9]+)?_te)\.npz$")


@dataclass(frozen=True)
class Caption:
    """The file that kohya will read for an image (None: none), the text it will make of it, and
    what is wrong with it.
    """

    path: Path | None
    text: str | None
    faults: tuple[Fault, ...] = ()


def caption_beside(image: Path) -> Path | None:
    """A person's caption of an image, whatever extension it has, lower or upper case."""
    stem = os.path.splitext(image)[0]
    names = (
        stem + (suffix if lower else suffix.upper())
        for suffix in CAPTION_SUFFIXES
        for lower in (True, False)
    )
    return next(
        (Path(name) for name in names if os.path.isfile(name)), None
    )  # Path.is_file() raises where a name is too long


def find_caption(
    folder: Path, stem: str, suffix: str, names: Mapping[str, os.DirEntry[str]]
) -> Caption:
    """The two places, in kohya's order: beside the image; then, with the last four `_` parts of
    the whole path cut off.
    """
    entry = names.get(stem + suffix)
    if entry is not None and entry.is_file():
        return read_caption(folder / entry.name)
    parts = os.path.abspath(folder / stem).split("_")  # the plan writes absolute folders
    if len(parts) >= 5:
        other = Path("_".join(parts[:-4]) + suffix)
        if other.is_file():
            caption = read_caption(other)
            said = fault(
                "caption-fallback",
                folder / stem,
                f"kohya will use {other} as its caption.",
                f"Give the image a caption {stem}{suffix} of its own.",
            )
            return Caption(other, caption.text, (*caption.faults, said))
    return Caption(None, None)


def read_caption(path: Path) -> Caption:
    """The first line, stripped, as kohya takes it; with a fault for everything that kohya would
    choke on or misread.
    """
    try:
        with path.open("rb") as file:
            data = file.read(HUGE_CAPTION + 1)
    except OSError as error:
        return Caption(
            path, "", (fault("caption-unreadable", path, f"cannot be opened: {error.strerror}."),)
        )
    if not data:
        return Caption(
            path,
            "",
            (
                fault(
                    "caption-empty",
                    path,
                    "the file is empty.",
                    "Write a caption or remove the file.",
                ),
            ),
        )
    found: list[Fault] = []
    if len(data) > HUGE_CAPTION:
        found.append(
            fault(
                "caption-huge",
                path,
                f"{path.stat().st_size:,} bytes.",
                "A caption is one line of words.",
            )
        )
    text = _decode(path, data, found)
    if text is None:
        return Caption(path, "", tuple(found))
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    first = lines[0].removeprefix("\ufeff").strip() if lines[0].startswith("\ufeff") else lines[0]
    if not first:
        what = (
            "has an empty first line, and kohya reads no other."
            if any(lines)
            else "holds nothing but blanks."
        )
        found.append(fault("caption-blank", path, what, "Write the caption into the first line."))
    elif any(lines[1:]):
        found.append(
            fault(
                "caption-lines",
                path,
                f"has {sum(map(bool, lines))} lines; only the first is used.",
                "Join them.",
            )
        )
    if any(ord(c) < 32 and c != "\t" for c in first):
        found.append(
            fault("caption-nul", path, "control characters in the text.", "Write the caption anew.")
        )
    return Caption(path, lines[0], tuple(found))


def _decode(path: Path, data: bytes, found: list[Fault]) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        found.append(fault("caption-encoding", path, "is UTF-16, not UTF-8.", "Save it as UTF-8."))
        return None
    if data.startswith(b"\xef\xbb\xbf"):
        found.append(
            fault(
                "caption-bom",
                path,
                "begins with a byte order mark.",
                "Save it as UTF-8 without BOM.",
            )
        )
    if len(data) > HUGE_CAPTION:  # cut where it may, not inside a character
        data = data[:HUGE_CAPTION].rsplit(b" ", 1)[0]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        guess = data.decode("cp1252", "replace")[
            max(0, error.start - 12) : error.start + 13
        ].strip()
        what = f"byte {error.start} is not UTF-8 (near {guess!r} if it is Windows text)."
        found.append(fault("caption-encoding", path, what, "Save it as UTF-8."))
        return None


def caption_leftovers(
    folder: Path, suffix: str, stems: Mapping[str, list[str]], names: Mapping[str, os.DirEntry[str]]
) -> Iterator[Fault]:
    """Captions that nobody reads: with another extension, or without an image."""
    for name in sorted(names):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in CAPTION_SUFFIXES or name.startswith("."):
            continue
        if extension == suffix:
            if stem not in stems:
                yield fault("caption-orphan", folder / name, "no image has this name.")
        elif stem in stems and stem + suffix not in names:
            yield fault(
                "caption-extension",
                folder / name,
                f"is not read: the recipe's caption_extension is {suffix}.",
                f'Rename it to {stem}{suffix}, or set caption_extension = "{extension}".',
            )


def cache_faults(
    folder: Path,
    images: list[tuple[str, int, tuple[int, int]]],
    names: Mapping[str, os.DirEntry[str]],
    caption_times: Mapping[str, int],
) -> Iterator[Fault]:
    """Caches that are older than what they were made from, and names that kohya would take another
    image's size from.

    `images`: (file name, mtime_ns, size as kohya reads it), sorted by name.
    """
    caches = [name for name in names if name.endswith(".npz")]
    if not caches:
        return
    by_stem = {os.path.splitext(name)[0]: mtime for name, mtime, _ in images}
    sized: dict[str, list[str]] = defaultdict(list)
    for name in sorted(caches):
        made = names[name].stat().st_mtime_ns
        latent, text = LATENT_CACHE.match(name), TEXT_CACHE.sub("", name)
        if latent:
            sized[latent["suffix"]].append(name)
            if by_stem.get(latent["stem"], 0) > made:
                yield fault(
                    "cache-stale",
                    folder / name,
                    "is older than its image.",
                    "Remove it: it will be made anew.",
                )
        elif text in by_stem:
            if max(by_stem[text], caption_times.get(text, 0)) > made:
                yield fault(
                    "cache-stale",
                    folder / name,
                    "is older than its caption or image.",
                    "Remove it: it will be made anew.",
                )
        elif name[:-4] in by_stem:
            yield fault(
                "cache-old-style",
                folder / name,
                "wins over every newer cache of this image.",
                "Remove it.",
            )
    for suffix, group in sized.items():
        yield from _size_traps(folder, images, group, suffix)


def _size_traps(
    folder: Path, images: list[tuple[str, int, tuple[int, int]]], caches: list[str], suffix: str
) -> Iterator[Fault]:
    """Walk both sorted lists as kohya does: a cache whose name merely begins with the image's is
    taken for its own.
    """
    caches = sorted(caches, key=lambda name: name.rsplit("_", 2)[0])
    at = 0
    for image, _, size in images:
        stem = os.path.splitext(image)[0]
        while at < len(caches) and caches[at][: len(stem)] < stem:
            at += 1
        if at == len(caches) or caches[at][: len(stem)] != stem:
            continue
        match = LATENT_CACHE.match(caches[at])
        told = (int(match["w"]), int(match["h"])) if match else size
        if told != size:
            yield fault(
                "cache-size",
                folder / image,
                f"kohya will believe it to be {told[0]}x{told[1]}, from the name of {caches[at]}; "
                f"it is {size[0]}x{size[1]}.",
                f"Remove that file, or every *{suffix} in this folder.",
            )
