"""Captions in every wrong encoding, and captions that are no files at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from drawings import drawing

from attacks.calling import call, first
from attacks.table import Case

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t\n",
    "commas": b",,, , ,",
    "utf-8 with a mark": b"\xef\xbb\xbfzwx, one",
    "utf-16": "zwx, one".encode("utf-16"),
    "utf-16 without a mark": "zwx, one".encode("utf-16-le"),
    "utf-32": "zwx, one".encode("utf-32"),
    "latin-1": b"zwx, caf\xe9",
    "cp1252 quotes": b"zwx, \x93fox\x94",
    "half a letter": b"zwx, \xc3",
    "half a pair": b"zwx, \xed\xa0\x80",
    "overlong": b"zwx, \xc0\xaf",
    "zeros": b"zwx\0, one",
    "only zeros": bytes(4096),
    "escape": b"zwx, \x1b[2J\x1b]0;x\x07one",
    "carriage returns": b"zwx, one\rtwo\rthree",
    "windows lines": b"zwx, one\r\ntwo\r\n",
    "separators": "zwx, a\u2028b\x85c\u2029d".encode(),
    "right to left": "zwx, \u202eevil\u202c".encode(),
    "a long line": b"zwx, " + b"red, " * 200_000,
    "many lines": b"zwx\n" * 200_000,
    "ten megabytes": b"zwx, " + b"x" * 10_000_000,
    "brackets": b"[" * 100_000,
    "wildcards": b"zwx, {red|{green|blue}}, (a:1.5), <lora:x:1>",
    "placeholders": b"{trigger}, {0.__class__}, %s %n",
    "html": b"zwx, <script>alert(1)</script>",
    "json": b'{"caption": "zwx"}',
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "a pickle": b"\x80\x04\x95" + bytes(20),
}
FILES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "a link to a text elsewhere": lambda path: path.symlink_to("../../elsewhere.txt"),
}


def cases(folder: Path, count: int) -> Iterator[Case]:
    makers: dict[str, Callable[[Path], object]] = {
        name: lambda path, data=data: path.write_bytes(data)  # type: ignore[misc]
        for name, data in TEXTS.items()
    }
    both = list({**FILES, **makers}.items())[:count]
    for number, (name, make) in enumerate(both):
        yield name, lambda at=folder / str(number), make=make: tried(at, make)  # type: ignore[misc]


def tried(folder: Path, make: Callable[[Path], object]) -> str:
    """No command hangs or crashes, and none overlooks the fault of the picture beside it."""
    subset = folder / "data/2_zwx"
    subset.mkdir(parents=True)
    (folder / "elsewhere.txt").write_text("zwx, elsewhere", encoding="utf-8")
    for number, name in enumerate(("odd", "mute", "good")):
        drawing((96, 96), number).save(subset / f"{name}.png")
    (subset / "mute.txt").write_text("", encoding="utf-8")
    (subset / "good.txt").write_text("zwx, good", encoding="utf-8")
    odd = subset / "odd.txt"
    make(odd)
    whole = odd.read_bytes() if odd.is_file() and odd.stat().st_size else b""
    recipe = folder / "zwx.toml"
    recipe.write_text(
        'preset = "sd15"\nname = "zwx"\ntrigger = "zwx"\n[model]\nbase = "x.safetensors"\n'
        '[dataset]\npath = "data"\n',
        encoding="utf-8",
    )
    check = call("dataset", "check", subset.parent, "--trigger", "zwx", "--json")
    said = [
        check,
        call("dataset", "stats", subset.parent),
        call("dataset", "layout", subset.parent),
        call("dataset", "caption", subset.parent, "--add", "red"),
        call("plan", recipe, "--for", "cuda:24"),
        call("dataset", "caption", subset.parent, "--add", "red", "--write"),
    ]
    if fault := first(*(one.fault for one in said)):
        return fault
    if "mute" not in json.dumps(json.loads(check.out or "{}")) + check.err:
        return f"check does not name the neighbour's empty caption: {check.err[:150]}"
    if (folder / "elsewhere.txt").read_text(encoding="utf-8") != "zwx, elsewhere":
        return "a file outside of the dataset has changed"
    now = odd.read_bytes() if whole else b""
    if now != whole and len(now) < len(whole.strip(b" ,\n\t")) // 2:
        return f"a caption lost its text: {whole[:40]!r} became {now[:40]!r}"
    good = (subset / "good.txt").read_text(encoding="utf-8").strip()
    return "" if good in {"zwx, good", "zwx, red, good"} else f"the good caption became {good!r}"
