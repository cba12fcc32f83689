"""Caption files: where an image's is, what its words are, and what kohya makes of them.

The words are read here and nowhere else: without a byte order mark, every line end as a newline,
and where the bytes are not UTF-8, a guess that says so.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault, refused
from lorakit.user_files import Missing, Unreadable, read_bytes

CAPTION_SUFFIXES = (".txt", ".caption", ".tags", ".text", ".cap")
HUGE_CAPTION = 16_384  # bytes
MOST_CAPTION = 1 << 21
BOM = "\ufeff"
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")


@dataclass(frozen=True)
class Words:
    """What is in a caption file. `encoding` is utf-8, utf-8-sig, utf-16 or, guessed, cp1252."""

    text: str
    encoding: str = "utf-8"
    problem: str = ""  # why a trainer cannot read it


@dataclass(frozen=True)
class Caption:
    """The file that kohya reads for an image (None: none), and the text it makes of it."""

    path: Path | None
    text: str | None
    faults: tuple[Fault, ...] = ()


def read_words(path: Path) -> Words | None:
    """None where there is no such file; Unreadable where it is no file of words."""
    try:
        return words_in(read_bytes(path, most=MOST_CAPTION))
    except Missing:
        return None


def words_in(data: bytes) -> Words:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, problem = "utf-16", "is UTF-16, not UTF-8."
    else:
        encoding, problem = "utf-8-sig" if data.startswith(BOM.encode()) else "utf-8", ""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        encoding, text = "cp1252", data.decode("cp1252", "replace")
        near = text[max(0, error.start - 12) : error.start + 13].strip()
        byte = f"see byte {error.start} (near {near!r} if it is Windows text)."
        problem = problem or f"is not UTF-8: {byte}"
    return Words(re.sub(r"\r\n?", "\n", text), encoding, problem)


def caption_text(path: Path) -> str | None:
    """The words for editing; None where there is no file. A guess is refused."""
    try:
        words = read_words(path)
    except Unreadable as error:
        raise refused(shown(path), error.why) from error
    if words and words.problem:
        raise refused(shown(path), words.problem, "Save it as UTF-8 and run this again.")
    return words.text.strip() if words else None


def caption_beside(image: Path) -> Path | None:
    """Somebody's caption of an image, whatever extension it has, lower or upper case."""
    stem = os.path.splitext(image)[0]
    names = (stem + case for suffix in CAPTION_SUFFIXES for case in (suffix, suffix.upper()))
    # Path.is_file() raises where a name is too long
    return next((Path(name) for name in names if os.path.isfile(name)), None)


def find_caption(
    folder: Path, stem: str, suffix: str, names: Mapping[str, os.DirEntry[str]]
) -> Caption:
    """In kohya's order: beside the image; with four `_` parts of the path cut off."""
    entry = names.get(stem + suffix)
    if entry is not None:
        return kohya_caption(folder / entry.name)
    parts = os.path.abspath(folder / stem).split("_")  # the plan writes absolute folders
    other = Path("_".join(parts[:-4]) + suffix)
    if len(parts) < 5 or not other.is_file():
        return Caption(None, None)
    caption = kohya_caption(other)
    if caption.path is None:
        return caption
    what = f"kohya will use {other} as its caption."
    hint = f"Give the image a caption {stem}{suffix} of its own."
    note = fault("caption-fallback", folder / stem, what, hint)
    return Caption(other, caption.text, (*caption.faults, note))


def kohya_caption(path: Path) -> Caption:
    """The first line, stripped, as kohya takes it; and all that it would misread."""
    found: list[Fault] = []

    def note(rule: str, what: str, hint: str = "") -> None:
        found.append(fault(rule, path, what, hint))

    try:
        data = read_bytes(path, most=MOST_CAPTION)
    except Unreadable as error:
        note("caption-unreadable", error.why, "Write the caption again.")
        return Caption(None, None, tuple(found))
    if not data:
        note("caption-empty", "the file is empty.", "Write a caption or remove the file.")
        return Caption(path, "", tuple(found))
    if len(data) > HUGE_CAPTION:
        note("caption-huge", f"{len(data):,} bytes.", "A caption is one line of words.")
        data = data[:HUGE_CAPTION].rsplit(b" ", 1)[0]  # not inside a character
    words = words_in(data)
    if words.problem:
        note("caption-encoding", words.problem, "Save it as UTF-8.")
        return Caption(path, "", tuple(found))
    bom = BOM if words.encoding == "utf-8-sig" else ""  # kohya keeps it
    if bom:
        note("caption-bom", "begins with a byte order mark.", "Save it as UTF-8 without BOM.")
    lines = [line.strip() for line in words.text.split("\n")]
    filled = sum(map(bool, lines))
    if not filled:
        note("caption-blank", "is blank.", "Write the caption into the first line.")
    elif not lines[0]:
        what = "has an empty first line, and kohya reads no other."
        note("caption-blank", what, "Write the caption into the first line.")
    elif filled > 1:
        note("caption-lines", f"has {filled} lines; only the first is used.", "Join them.")
    if CONTROL.search(lines[0]):
        note("caption-nul", "control characters in the text.", "Write the caption again.")
    return Caption(path, bom + lines[0], tuple(found))


def caption_leftovers(
    folder: Path, suffix: str, stems: Mapping[str, list[str]], names: Mapping[str, os.DirEntry[str]]
) -> Iterator[Fault]:
    """Captions that two images share, and that nobody reads: of another extension, of no image."""
    for stem, images in stems.items():
        if len(images) > 1:
            both, caption = " and ".join(map(shown, images)), f"{shown(stem)}{suffix}"
            what = f"{both} share one caption ({caption}) and one cache."
            hint = "Rename all but one, with a caption each."
            yield fault("caption-shared", folder / images[0], what, hint)
    for name in sorted(names):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in CAPTION_SUFFIXES or name.startswith("."):
            continue
        if extension == suffix:
            if stem not in stems:
                yield fault("caption-orphan", folder / name, "no image has this name.")
        elif stem in stems and stem + suffix not in names:
            what = f"is not read: the recipe's caption_extension is {suffix}."
            hint = f'Rename it to {stem}{suffix}, or set caption_extension = "{extension}".'
            yield fault("caption-extension", folder / name, what, hint)
