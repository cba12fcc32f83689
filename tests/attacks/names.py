"""File names that a shell, a terminal, a zip or a table would stumble over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from drawings import drawing

from attacks.calling import call, first, tree
from attacks.table import Case

STEMS: tuple[bytes | str, ...] = (
    *("a b", " leading", "trailing ", "two  blanks", "-rf", "--force", "--", "-", "tab\there"),
    *("line\nbreak", "cr\rhere", "bell\a", "\x1b[2Jclear", "\x1b]0;title\a", "del\x7f", "\x9b31m"),
    *("'single'", '"double"', "`touch x`", "$(touch x)", ";touch x", "a|b", "a&b", "~", "#hash"),
    *(
        "100%s",
        "%d%n",
        "{trigger}",
        "{0.__class__}",
        "[a-z]",
        "*",
        "?",
        "back\\slash",
        "a=b",
        "a,b",
    ),
    *(
        "CON",
        "a...b",
        "a..",
        "e\u0301",
        "\u00e9",
        "\u202egnp.x",
        "\u200b",
        "\u2028line",
        "\U0001f98a",
    ),
    *("n" * 251, "\u00fc" * 120, b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", "@x", "http:", "x.txt"),
)


def cases(folder: Path, count: int) -> Iterator[Case]:
    for number, stem in enumerate(STEMS[:count]):
        text = os.fsdecode(stem) if isinstance(stem, bytes) else stem
        yield repr(text)[:40], lambda at=folder / str(number), text=text: tried(at, text)  # type: ignore[misc]


def tried(folder: Path, stem: str) -> str:
    """One picture of this name and its neighbour through every command that prints or writes names."""
    data, there = folder / "data", folder / "there"
    subset = data / "2_zwx"
    subset.mkdir(parents=True)
    for number, name in enumerate((stem, "neighbour")):
        drawing((96, 96), number).save(subset / f"{name}.png", "PNG")
        (subset / f"{name}.txt").write_text("zwx, one", encoding="utf-8")
    before = {name: digest for name, digest in tree(data).items() if name.endswith(".png")}
    words = ("dataset", "caption", data, "--add", "red")
    said = [
        call("dataset", "check", data, "--trigger", "zwx"),
        call("dataset", "stats", data),
        call("dataset", "layout", data),
        call(*words),
        call(*words, "--write"),
        call("dataset", "bundle", data, "--out", folder / "b.zip"),
    ]
    if faults := first(*(one.fault for one in said)):
        return faults
    captions = {
        path.read_text(encoding="utf-8").strip()
        for path in subset.iterdir()
        if path.suffix == ".txt"
    }
    if captions != {"zwx, red, one"}:
        return f"captions are {sorted(captions)}"
    if said[-1].code == 0:
        opened = call("dataset", "bundle", "verify", folder / "b.zip", "--unpack", there)
        if opened.fault or opened.code:
            return opened.fault or f"its own bundle is refused: {opened.err[:200]}"
        inside = {name: digest for name, digest in tree(there).items() if name.endswith(".png")}
        if inside != before:
            return "the bundle holds other pictures"
    left = {path.name for path in folder.iterdir()} - {"data", "b.zip", "there"}
    after = {name: digest for name, digest in tree(data).items() if name.endswith(".png")}
    return "a picture has changed" if after != before else f"made {left}" if left else ""
