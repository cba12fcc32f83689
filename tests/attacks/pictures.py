"""Pictures as no camera makes them: cut, flipped, huge by their header, of odd modes, or no file at all."""

from __future__ import annotations

import io
import os
import random
import resource
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drawings import drawing
from PIL import Image

from attacks.calling import Child, Said, first, tree
from attacks.table import Case

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tiff": "TIFF"}
MODES = (
    *(("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("jpg", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")),
    *(("tiff", mode) for mode in ("1", "L", "RGB", "RGBA", "CMYK", "LAB")),
    *(("webp", mode) for mode in ("RGB", "RGBA")),
)
LARGEST_BYTES = 1_800_000_000  # of any one process


class Drawn(NamedTuple):
    name: str
    sound: bool | None  # None: a decoder may see it either way


def bytes_of(kind: str, seed: int, mode: str = "RGB", **options: object) -> bytes:
    image, out = drawing((200 + seed % 7, 150 + seed % 5), seed), io.BytesIO()
    if mode == "I;16":
        image = image.convert("I").convert("I;16")
    elif mode == "LAB":
        image = image.convert("LA").convert("L").convert("RGB")
    image.convert(mode if mode not in {"I;16", "LAB"} else image.mode).save(
        out, KINDS[kind], **options
    )
    return out.getvalue()


def claims(width: int, height: int, bits: int = 8) -> bytes:
    """A PNG whose header is larger than its body."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def bomb(side: int) -> bytes:
    """All of its pixels are there, and small: 16 bits, nothing but zero."""
    packer, row = zlib.compressobj(9), bytes(1 + 6 * side)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    whole = claims(side, side, 16)
    at = whole.index(b"IDAT") - 4
    part = b"IDAT" + body
    return (
        whole[:at]
        + struct.pack(">I", len(body))
        + part
        + struct.pack(">I", zlib.crc32(part))
        + whole[-12:]
    )


def drawn(folder: Path, count: int) -> list[Drawn]:
    """The first `count` of the corpus, in an order that mixes its kinds."""
    pick, made = random.Random(170), list[tuple[str, bytes, bool | None]]()
    for number, (kind, mode) in enumerate(MODES):
        made.append((f"mode-{mode.replace(';', '')}.{kind}", bytes_of(kind, number, mode), True))
    for turn in range(9):
        exif = Image.Exif()
        exif[0x0112] = turn
        made.append((f"turned-{turn}.jpg", bytes_of("jpg", 30 + turn, exif=exif), True))
    made += [
        (f"renamed-{kind}.jpg", bytes_of(kind, 40 + i), True)
        for i, kind in enumerate(KINDS)
        if kind != "jpg"
    ]
    made.append(("progressive.jpg", bytes_of("jpg", 50, progressive=True), True))
    made.append(
        ("broken-exif.jpg", bytes_of("jpg", 51, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), None)
    )
    made.append(("broken-icc.jpg", bytes_of("jpg", 52, icc_profile=b"no profile at all"), True))
    for seed, (kind, part) in enumerate(
        (kind, part) for kind in KINDS for part in (0.02, 0.2, 0.5, 0.8, 0.97)
    ):
        whole = bytes_of(kind, 60 + seed)
        made.append((f"cut-{int(100 * part)}.{kind}", whole[: int(len(whole) * part)], None))
    for seed in range(66):
        kind = list(KINDS)[seed % len(KINDS)]
        spoilt = bytearray(bytes_of(kind, 100 + seed))
        for _ in range(pick.choice((1, 8, 64))):
            spoilt[pick.randrange(len(spoilt))] = pick.randrange(256)
        made.append((f"flipped-{seed}.{kind}", bytes(spoilt), None))
    for number, text in enumerate(
        (
            b"",
            b"\0" * 999,
            b"<html>not found</html>",
            b"%PDF-1.7",
            b"PK\3\4",
            b"GIF89a",
            b"\xff\xd8",
        )
    ):
        made.append((f"no-picture-{number}.png", text, False))
        made.append((f"no-picture-{number}.jpg", text + os.urandom(50), False))
    made += [
        ("vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', False),
        ("program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run", False),
        ("phone.jpg", b"\0\0\0\x18ftypheic" + bytes(80), False),
        ("git-lfs.png", b"version https://git-lfs.github.com/spec/v1\n", False),
        ("ones.jpg", b"\xff\xd8" + b"\xff" * 3_000_000, False),
    ]
    sides = (65_000, 200_000, 2**31 - 1)
    made += [(f"claims-{w}-{h}.png", claims(w, h), False) for w in (1, *sides) for h in (*sides, 0)]
    made.append(("bomb.png", bomb(11_200), None))
    pick.shuffle(made)
    special = ["pipe.png", "socket.png", "loop.png", "nowhere.png", "zeros.png"]
    for name, data, _ in made[: max(0, count - len(special))]:
        (folder / name).write_bytes(data)
    os.mkfifo(folder / special[0])
    os.mknod(folder / special[1], stat.S_IFSOCK | 0o600)
    (folder / special[2]).symlink_to(special[2])
    (folder / special[3]).symlink_to("not-there.png")
    (folder / special[4]).symlink_to("/dev/zero")
    odd = [Drawn(name, False) for name in special]
    return [*odd, *(Drawn(name, sound) for name, _, sound in made)][:count]


def cases(folder: Path, count: int) -> Iterator[Case]:
    """add, check and prepare see all of them at once, beside two that are sound."""
    photos, data = folder / "photos", folder / "data"
    photos.mkdir()
    corpus = drawn(photos, count)
    before = tree(photos)
    add = Child("dataset", "add", data, photos, "--repeats", "2", "--trigger", "zwx").end(240)
    prepare = Child("dataset", "prepare", data, "--fit", "none", "--format", "png").end(240)
    check = Child("dataset", "check", data, "--trigger", "zwx", "--all").end(240)
    used = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    kept = {path.stem for path in (data / "originals").rglob("*") if path.is_file()}
    made = {path.stem: path for path in data.glob("2_zwx/*.png")}
    commands = first(*(one.fault for one in (add, prepare, check)))

    def right(one: Drawn) -> str:
        stem = Path(one.name).stem
        mine = {other for other in made if other.split("_")[0] in {stem, one.name}}
        if commands:
            return commands
        if tree(photos) != before:
            return "the user's own pictures have changed"
        if used > LARGEST_BYTES:
            return f"a process took {used / 1e9:.1f} GB"
        for other in mine:
            with Image.open(made[other]) as image:
                image.load()
        if one.sound and not mine:
            return f"sound, but not taken: {told(one.name, add, prepare)}"
        if one.sound is False and mine:
            return "taken, though no picture"
        if not mine and not told(one.name, add, prepare, check):
            return f"neither taken nor named{' (but copied)' if stem in kept else ''}"
        return ""

    for one in corpus:
        yield one.name, lambda one=one: right(one)  # type: ignore[misc]


def told(name: str, *said: Said) -> str:
    lines = [line for one in said for line in (one.out + one.err).splitlines()]
    return next((line.strip() for line in lines if name in line), "")
