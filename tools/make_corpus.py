"""Draw a dataset in which almost everything is broken, one file for each way: python
tools/make_corpus.py OUT

Every case names the rule of `lorakit dataset check` that must speak about it; the tests hold the
two together.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw

SUBSET = "10_qb_fox"
CAPTIONS = [
    "a wide park, morning, walking",
    "at night, street lamps, smiling",
    "wooden desk, reading a letter",
    "long beach, wind, running",
    "snow, evening sun, seen from behind",
    "grey stairs, motion",
    "plain wall, studio, portrait",
    "kitchen, steam, laughing",
    "busy road, bicycle",
    "autumn leaves, sitting",
    "library, lamp, chess",
    "market, baskets, talking",
]


@dataclass(frozen=True)
class Case:
    """`name` is relative to the dataset; `rules`: which of them must be told about it (any one of
    them).
    """

    name: str
    rules: tuple[str, ...]
    make: Callable[[Path], object]
    caption: bool = True  # with a good caption of its own


def drawing(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    rng = random.Random(seed)
    image = Image.frombytes(
        "L", size, bytes(rng.choices(range(60, 200), k=size[0] * size[1]))
    ).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(24):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        w, h = rng.randrange(3, max(4, size[0] // 3)), rng.randrange(3, max(4, size[1] // 3))
        pen.ellipse(
            [x - w, y - h, x + w, y + h],
            fill=tuple(rng.randrange(256) for _ in range(3)),
            outline="black",
        )
    return image


def encoded(kind: str, seed: int, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = BytesIO()
    (image or drawing(seed)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(data, 9))
        + png_chunk(b"IEND", b"")
    )


def jpeg_marker(data: bytes, marker: int) -> int:
    return data.index(bytes([0xFF, marker]))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def locked(path: Path) -> None:
    path.write_bytes(encoded("PNG", 160))
    path.chmod(0)


def cases() -> list[Case]:
    found = [
        *_truncated(),
        *_mislabelled(),
        *_sizes(),
        *_colours(),
        *_metadata(),
        *_looks(),
        *_no_files(),
        *_names(),
        *_captions(),
        *_alike(),
        *_caches(),
        *_folders(),
    ]
    return [
        (
            case
            if case.name.count("/")
            else Case(f"{SUBSET}/{case.name}", case.rules, case.make, case.caption)
        )
        for case in found
    ]


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _truncated() -> Iterator[Case]:
    photo = encoded("JPEG", 100, quality=90)
    broken = ("undecodable", "header")
    for name, length in {
        "start": 2,
        "jfif": 12,
        "tables": jpeg_marker(photo, 0xDB) + 20,
        "frame": jpeg_marker(photo, 0xC0) + 6,
        "huffman": jpeg_marker(photo, 0xC4) + 9,
        "scan": jpeg_marker(photo, 0xDA) + 4,
        "third": len(photo) // 3,
        "nearly": len(photo) - 200,
    }.items():
        yield Case(f"cut_jpeg_{name}.jpg", broken, _bytes(photo[:length]))
    yield Case("cut_progressive.jpg", broken, _bytes(encoded("JPEG", 101, progressive=True)[:4000]))
    picture = encoded("PNG", 102)
    for name, length in {
        "signature": 8,
        "header": 20,
        "no_data": 33,
        "half": len(picture) // 2,
        "nearly": len(picture) - 400,
    }.items():
        yield Case(f"cut_png_{name}.png", broken, _bytes(picture[:length]))
    yield Case("crc_header.png", broken, _bytes(picture[:29] + b"\0\0\0\0" + picture[33:]))
    yield Case("crc_data.png", broken, _bytes(picture[:200] + bytes(40) + picture[240:]))
    web = encoded("WEBP", 103)
    yield Case("cut_webp_riff.webp", broken, _bytes(web[:16]))
    yield Case("cut_webp_half.webp", broken, _bytes(web[: len(web) // 2]))
    bitmap = encoded("BMP", 104)
    yield Case("cut_bmp_header.bmp", broken, _bytes(bitmap[:20]))
    yield Case("cut_bmp_half.bmp", broken, _bytes(bitmap[: len(bitmap) // 2]))
    for suffix in ("png", "jpg", "webp", "bmp"):
        yield Case(f"zero_{suffix}.{suffix}", ("header",), _bytes(b""))


def _mislabelled() -> Iterator[Case]:
    wrong = ("extension-content",)
    yield Case("jpeg_inside.png", wrong, _bytes(encoded("JPEG", 110)))
    yield Case("png_inside.jpg", wrong, _bytes(encoded("PNG", 111)))
    yield Case("gif_inside.jpg", wrong, _bytes(encoded("GIF", 112)))
    yield Case("webp_inside.jpeg", wrong, _bytes(encoded("WEBP", 113)))
    yield Case("tiff_inside.png", wrong, _bytes(encoded("TIFF", 114)))
    nothing = ("header",)
    yield Case("text.jpg", nothing, _bytes(b"this is no picture\n" * 40))
    yield Case("page.png", nothing, _bytes(b"<!doctype html><title>404</title>"))
    yield Case("archive.png", nothing, _bytes(b"PK\x03\x04" + bytes(300)))
    yield Case("film.jpg", nothing, _bytes(b"\0\0\0\x18ftypmp42" + bytes(300)))
    yield Case("noise.webp", nothing, _bytes(random.Random(5).randbytes(3000)))


def _sizes() -> Iterator[Case]:
    yield Case("one_pixel.png", ("too-small",), _bytes(encoded("PNG", 0, Image.new("RGB", (1, 1)))))
    yield Case(
        "line_wide.png", ("too-small",), _bytes(encoded("PNG", 0, Image.new("RGB", (20_000, 1))))
    )
    yield Case(
        "line_high.png", ("too-small",), _bytes(encoded("PNG", 0, Image.new("RGB", (1, 20_000))))
    )
    yield Case(
        "just_too_small.png", ("too-small",), _bytes(encoded("PNG", 0, drawing(120, (63, 200))))
    )
    yield Case("strip.png", ("aspect",), _bytes(encoded("PNG", 0, drawing(121, (900, 80)))))
    yield Case("bomb.png", ("bomb",), _bytes(png(60_000, 60_000, 1, 0, bytes(1000))))
    yield Case("bomb_jpeg.jpg", ("bomb",), lambda path: path.write_bytes(_huge_jpeg()))
    yield Case("no_width.png", ("header",), _bytes(png(0, 100, 8, 2, b"")))


def _huge_jpeg() -> bytes:
    data = bytearray(encoded("JPEG", 122))
    at = jpeg_marker(bytes(data), 0xC0)
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _colours() -> Iterator[Case]:
    yield Case("cmyk.jpg", ("colours",), _bytes(encoded("JPEG", 0, drawing(130).convert("CMYK"))))
    deep = b"".join(b"\0" + bytes(random.Random(row).randbytes(200)) for row in range(100))
    yield Case("grey16.png", ("colours",), _bytes(png(100, 100, 16, 0, deep)))
    yield Case(
        "rgb16.png",
        ("colours",),
        _bytes(
            png(
                100,
                100,
                16,
                2,
                b"".join(b"\0" + random.Random(row).randbytes(600) for row in range(100)),
            )
        ),
    )
    yield Case("grey.png", ("grey",), _bytes(encoded("PNG", 0, drawing(131).convert("L"))))
    yield Case(
        "alpha.png",
        ("transparent",),
        _bytes(encoded("PNG", 0, drawing(132).convert("RGBA").rotate(30))),
    )
    yield Case(
        "palette.png",
        ("transparent",),
        _bytes(encoded("PNG", 0, drawing(133).quantize(16), transparency=3)),
    )
    frames = [drawing(134), drawing(135), drawing(136)]
    yield Case(
        "animated.webp",
        ("animated",),
        _bytes(encoded("WEBP", 0, frames[0], save_all=True, append_images=frames[1:])),
    )
    yield Case(
        "animation.png",
        ("animated",),
        _bytes(encoded("PNG", 0, frames[2], save_all=True, append_images=frames[:1])),
    )


def _metadata() -> Iterator[Case]:
    for turn in range(2, 9):
        yield Case(
            f"turned_{turn}.jpg", ("rotated",), _bytes(encoded("JPEG", 140 + turn, exif=exif(turn)))
        )
    yield Case(
        "exif_broken.jpg",
        ("exif",),
        _bytes(
            encoded(
                "JPEG",
                150,
                exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
            )
        ),
    )
    yield Case(
        "icc_broken.jpg", ("icc",), _bytes(encoded("JPEG", 151, icc_profile=b"no profile" * 40))
    )
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield Case("icc_other.jpg", ("icc",), _bytes(encoded("JPEG", 152, icc_profile=lab)))


def _looks() -> Iterator[Case]:
    yield Case(
        "flat.png",
        ("flat",),
        _bytes(encoded("PNG", 0, Image.new("RGB", (200, 150), (90, 120, 110)))),
    )
    yield Case(
        "blurred.png",
        ("blurry",),
        _bytes(encoded("PNG", 0, drawing(153).resize((16, 12)).resize((240, 180)))),
    )
    yield Case(
        "dark.png",
        ("exposure",),
        _bytes(encoded("PNG", 0, drawing(154).point(lambda value: value // 12))),
    )
    bright = Image.new("RGB", (240, 180), "white")
    bright.paste(drawing(156, (40, 30)), (90, 70))
    yield Case("bright.png", ("exposure", "border"), _bytes(encoded("PNG", 0, bright)))
    framed = drawing(157)
    ImageDraw.Draw(framed).rectangle([0, 0, 240, 30], fill="white")
    yield Case("framed.png", ("border",), _bytes(encoded("PNG", 0, framed)))


def _no_files() -> Iterator[Case]:
    yield Case("folder.png", ("not-a-file",), lambda path: path.mkdir(), caption=False)
    yield Case("circle.png", ("broken-link",), lambda path: path.symlink_to(path), caption=False)
    yield Case(
        "nowhere.png",
        ("broken-link",),
        lambda path: path.symlink_to("gone/away.png"),
        caption=False,
    )
    yield Case(
        "link_to_folder.png",
        ("not-a-file",),
        lambda path: path.symlink_to(path.parent),
        caption=False,
    )
    if hasattr(os, "mkfifo"):
        yield Case("pipe.png", ("not-a-file",), os.mkfifo, caption=False)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        yield Case("locked.png", ("unreadable",), locked)


def _names() -> Iterator[Case]:
    picture = _bytes(encoded("PNG", 170))
    yield Case("Mixed.Png", ("extension-case",), _bytes(encoded("PNG", 169)), caption=False)
    yield Case("mixed.jPG", ("extension-case",), _bytes(encoded("JPEG", 171)), caption=False)
    for seed, suffix in enumerate(("gif", "tif", "heic", "avif", "jfif", "psd")):
        yield Case(
            f"unread.{suffix}",
            ("extension-unsupported",),
            _bytes(encoded("GIF", 172 + seed)),
            caption=False,
        )
    yield Case(".hidden.png", ("dot-file",), picture, caption=False)
    yield Case(f"{SUBSET}/deeper/inside.png", ("nested",), picture, caption=False)
    yield Case("new\nline.png", ("header",), _bytes(b"x"), caption=False)
    yield Case("füchsin 狐 🦊.png", ("header",), _bytes(b"x"), caption=False)
    yield Case("./outside.png", ("image-outside",), picture, caption=False)


def _captions() -> Iterator[Case]:
    def text(seed: int, data: bytes) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            path.write_bytes(data)
            path.with_suffix(".png").write_bytes(encoded("PNG", seed))

        return make

    for seed, (name, rule, data) in enumerate(
        [
            ("windows", "caption-encoding", "qb_fox, café".encode("cp1252")),
            ("utf16", "caption-encoding", "qb_fox, a hill".encode("utf-16")),
            ("bom", "caption-bom", "qb_fox, a bridge".encode("utf-8-sig")),
            ("nul", "caption-nul", b"qb_fox\0, a tower"),
            ("long", "caption-huge", b"qb_fox, " + b"very " * 200_000),
            ("empty", "caption-empty", b""),
            ("blanks", "caption-blank", b" \t \n"),
            ("first_line", "caption-blank", b"\nqb_fox, below"),
            ("lines", "caption-lines", b"qb_fox, a pier\nqb_fox, a boat"),
            ("no_trigger", "trigger-missing", b"someone on a pier, fishing"),
            ("late", "trigger-late", b"on a pier, fishing, qb_fox"),
            (
                "tokens",
                "caption-tokens",
                ("qb_fox, " + ", ".join(f"x{n}" for n in range(40))).encode(),
            ),
            ("face", "face-described", b"qb_fox, green eyes, thin lips, on a roof"),
        ]
    ):
        yield Case(f"caption_{name}.txt", (rule,), text(200 + seed, data), caption=False)
    yield Case(
        "caption_missing.png", ("caption-missing",), _bytes(encoded("PNG", 220)), caption=False
    )
    yield Case(
        "caption_other.caption",
        ("caption-extension",),
        text(221, b"qb_fox, in a wrong place"),
        caption=False,
    )
    yield Case("caption_lost.txt", ("caption-orphan",), _bytes(b"qb_fox, nobody"), caption=False)
    yield Case(
        "caption_same.txt",
        ("caption-same",),
        text(222, f"qb_fox, {CAPTIONS[0]}".encode()),
        caption=False,
    )
    yield Case(
        "shared.png",
        ("caption-shared",),
        lambda path: (
            path.write_bytes(encoded("PNG", 223)),
            path.with_suffix(".jpg").write_bytes(encoded("JPEG", 224)),
        ),
    )


def _alike() -> Iterator[Case]:
    yield Case(
        "twin.jpg",
        ("duplicate",),
        lambda path: path.write_bytes((path.parent / "good_00.jpg").read_bytes()),
    )
    yield Case(
        "nearly_twin.jpg",
        ("near-duplicate",),
        lambda path: path.write_bytes(encoded("JPEG", 1, quality=50)),
    )


def _caches() -> Iterator[Case]:
    def old(path: Path) -> None:
        path.write_bytes(b"old")
        os.utime(path, (1, 1))

    yield Case("good_02_0240x0180_sd.npz", ("cache-stale",), old, caption=False)
    yield Case("good_03_te_outputs.npz", ("cache-stale",), old, caption=False)
    yield Case("good_04.npz", ("cache-old-style",), old, caption=False)
    yield Case(
        "prefix.png",
        ("cache-size",),
        lambda path: (
            path.write_bytes(encoded("PNG", 230)),
            path.with_name("prefix_more_0192x0064_sd.npz").write_bytes(b"new"),
        ),
    )


def _folders() -> Iterator[Case]:
    def folder(path: Path) -> None:
        path.mkdir()
        seed = 1000 + zlib.crc32(path.name.encode()) % 1000
        (path / "a.png").write_bytes(encoded("PNG", seed))
        (path / "a.txt").write_text(
            f"qb_fox, folder {seed}, picture {seed * 3}, of its own", encoding="utf-8"
        )

    for name, rule in {
        "10-minus": "folder-name",
        "words": "folder-name",
        "2.0_point": "folder-name",
        "0_zero": "folder-zero",
        "-3_negative": "folder-negative",
        "1_0_odd": "folder-odd",
        "007_odd": "folder-odd",
        "7": "folder-odd",
    }.items():
        yield Case(f"./{name}", (rule,), folder, caption=False)
    yield Case("./4_empty", ("folder-empty",), lambda path: path.mkdir(), caption=False)


def make_corpus(root: Path) -> list[Case]:
    """The broken ones among twelve good ones; returns what was made."""
    folder = root / SUBSET
    folder.mkdir(parents=True)
    for index, words in enumerate(CAPTIONS):
        (folder / f"good_{index:02}.jpg").write_bytes(encoded("JPEG", index, quality=90))
        (folder / f"good_{index:02}.txt").write_text(f"qb_fox, {words}", encoding="utf-8")
    made = cases()
    for number, case in enumerate(made):
        path = root / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        case.make(path)
        if case.caption:
            path.with_suffix(".txt").write_text(
                f"qb_fox, case {number} of many, {path.stem} here, thing {number * 7}",
                encoding="utf-8",
            )
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/make_corpus.py OUT")
    print(f"{len(make_corpus(Path(sys.argv[1])))} broken things in {sys.argv[1]}")
