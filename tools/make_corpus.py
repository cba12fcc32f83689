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
from collections.abc import Callable, Iterator, Mapping
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


Making = bytes | Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`name` is relative to the dataset; `rules`: which of them must be told about it (any one of
    them).
    """

    name: str
    rules: tuple[str, ...]
    make: Making  # what is in the file, or what makes it
    caption: bool = True  # with a good caption of its own


def told(rules: str, files: Mapping[str, Making], *, caption: bool = True) -> Iterator[Case]:
    """Each of these files must be told about by one of these rules."""
    for name, make in files.items():
        yield Case(name if "/" in name else f"{SUBSET}/{name}", tuple(rules.split()), make, caption)


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


def as_png(image: Image.Image, **options: object) -> bytes:
    return encoded("PNG", 0, image, **options)


def cases() -> list[Case]:
    kinds = (_truncated, _mislabelled, _sizes, _colours, _metadata, _looks, _no_files, _names)
    more = (_captions, _beside_captions, _alike, _caches, _folders)
    return [case for kind in (*kinds, *more) for case in kind()]


def _truncated() -> Iterator[Case]:
    photo, picture = encoded("JPEG", 100, quality=90), encoded("PNG", 102)
    web, bitmap = encoded("WEBP", 103), encoded("BMP", 104)
    ends = {
        "start": 2,
        "jfif": 12,
        "tables": jpeg_marker(photo, 0xDB) + 20,
        "frame": jpeg_marker(photo, 0xC0) + 6,
        "huffman": jpeg_marker(photo, 0xC4) + 9,
        "scan": jpeg_marker(photo, 0xDA) + 4,
        "third": len(photo) // 3,
        "nearly": len(photo) - 200,
    }
    parts = {"signature": 8, "header": 20, "no_data": 33, "half": len(picture) // 2}
    parts["nearly"] = len(picture) - 400
    broken: dict[str, Making] = {
        **{f"cut_jpeg_{name}.jpg": photo[:length] for name, length in ends.items()},
        "cut_progressive.jpg": encoded("JPEG", 101, progressive=True)[:4000],
        **{f"cut_png_{name}.png": picture[:length] for name, length in parts.items()},
        "crc_header.png": picture[:29] + b"\0\0\0\0" + picture[33:],
        "crc_data.png": picture[:200] + bytes(40) + picture[240:],
        "cut_webp_riff.webp": web[:16],
        "cut_webp_half.webp": web[: len(web) // 2],
        "cut_bmp_header.bmp": bitmap[:20],
        "cut_bmp_half.bmp": bitmap[: len(bitmap) // 2],
    }
    yield from told("undecodable header", broken)
    yield from told("header", {f"zero_{one}.{one}": b"" for one in ("png", "jpg", "webp", "bmp")})


def _mislabelled() -> Iterator[Case]:
    wrong: dict[str, Making] = {
        "jpeg_inside.png": encoded("JPEG", 110),
        "png_inside.jpg": encoded("PNG", 111),
        "gif_inside.jpg": encoded("GIF", 112),
        "webp_inside.jpeg": encoded("WEBP", 113),
        "tiff_inside.png": encoded("TIFF", 114),
    }
    nothing: dict[str, Making] = {
        "text.jpg": b"this is no picture\n" * 40,
        "page.png": b"<!doctype html><title>404</title>",
        "archive.png": b"PK\x03\x04" + bytes(300),
        "film.jpg": b"\0\0\0\x18ftypmp42" + bytes(300),
        "noise.webp": random.Random(5).randbytes(3000),
    }
    yield from told("extension-content", wrong)
    yield from told("header", nothing)


def _sizes() -> Iterator[Case]:
    small: dict[str, Making] = {
        "one_pixel.png": as_png(Image.new("RGB", (1, 1))),
        "line_wide.png": as_png(Image.new("RGB", (20_000, 1))),
        "line_high.png": as_png(Image.new("RGB", (1, 20_000))),
        "just_too_small.png": as_png(drawing(120, (63, 200))),
    }
    yield from told("too-small", small)
    yield from told("aspect", {"strip.png": as_png(drawing(121, (900, 80)))})
    huge = png(60_000, 60_000, 1, 0, bytes(1000))
    yield from told("bomb", {"bomb.png": huge, "bomb_jpeg.jpg": _huge_jpeg()})
    yield from told("header", {"no_width.png": png(0, 100, 8, 2, b"")})


def _huge_jpeg() -> bytes:
    data = bytearray(encoded("JPEG", 122))
    at = jpeg_marker(bytes(data), 0xC0)
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _colours() -> Iterator[Case]:
    def deep(colour: int, width: int) -> bytes:
        lines = (b"\0" + random.Random(row).randbytes(width) for row in range(100))
        return png(100, 100, 16, colour, b"".join(lines))

    cmyk = encoded("JPEG", 0, drawing(130).convert("CMYK"))
    yield from told(
        "colours", {"cmyk.jpg": cmyk, "grey16.png": deep(0, 200), "rgb16.png": deep(2, 600)}
    )
    yield from told("grey", {"grey.png": as_png(drawing(131).convert("L"))})
    through: dict[str, Making] = {
        "alpha.png": as_png(drawing(132).convert("RGBA").rotate(30)),
        "palette.png": as_png(drawing(133).quantize(16), transparency=3),
    }
    yield from told("transparent", through)
    first, *rest = frames = [drawing(134), drawing(135), drawing(136)]
    moving: dict[str, Making] = {
        "animated.webp": encoded("WEBP", 0, first, save_all=True, append_images=rest),
        "animation.png": as_png(frames[2], save_all=True, append_images=[first]),
    }
    yield from told("animated", moving)


def _metadata() -> Iterator[Case]:
    turned = {f"turned_{n}.jpg": encoded("JPEG", 140 + n, exif=exif(n)) for n in range(2, 9)}
    yield from told("rotated", turned)
    tags = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0"
    yield from told("exif", {"exif_broken.jpg": encoded("JPEG", 150, exif=tags)})
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profiles: dict[str, Making] = {
        "icc_broken.jpg": encoded("JPEG", 151, icc_profile=b"no profile" * 40),
        "icc_other.jpg": encoded("JPEG", 152, icc_profile=lab),
    }
    yield from told("icc", profiles)


def _looks() -> Iterator[Case]:
    yield from told("flat", {"flat.png": as_png(Image.new("RGB", (200, 150), (90, 120, 110)))})
    blurred = drawing(153).resize((16, 12)).resize((240, 180))
    yield from told("blurry", {"blurred.png": as_png(blurred)})
    dark = drawing(154).point(lambda value: value // 12)
    yield from told("exposure", {"dark.png": as_png(dark)})
    bright = Image.new("RGB", (240, 180), "white")
    bright.paste(drawing(156, (40, 30)), (90, 70))
    yield from told("exposure border", {"bright.png": as_png(bright)})
    framed = drawing(157)
    ImageDraw.Draw(framed).rectangle([0, 0, 240, 30], fill="white")
    yield from told("border", {"framed.png": as_png(framed)})


def _no_files() -> Iterator[Case]:
    links: dict[str, Making] = {
        "circle.png": lambda path: path.symlink_to(path),
        "nowhere.png": lambda path: path.symlink_to("gone/away.png"),
    }
    yield from told("broken-link", links, caption=False)
    others: dict[str, Making] = {
        "folder.png": lambda path: path.mkdir(),
        "link_to_folder.png": lambda path: path.symlink_to(path.parent),
        "pipe.png": os.mkfifo,
    }
    yield from told("not-a-file", others, caption=False)
    if os.geteuid():
        yield from told("unreadable", {"locked.png": locked})


def _names() -> Iterator[Case]:
    picture = encoded("PNG", 170)
    mixed: dict[str, Making] = {"Mixed.Png": encoded("PNG", 169), "mixed.jPG": encoded("JPEG", 171)}
    yield from told("extension-case", mixed, caption=False)
    suffixes = enumerate(("gif", "tif", "heic", "avif", "jfif", "psd"), 172)
    unread = {f"unread.{suffix}": encoded("GIF", seed) for seed, suffix in suffixes}
    yield from told("extension-unsupported", unread, caption=False)
    yield from told("dot-file", {".hidden.png": picture}, caption=False)
    yield from told("nested", {f"{SUBSET}/deeper/inside.png": picture}, caption=False)
    yield from told("header", {"new\nline.png": b"x", "füchsin 狐 🦊.png": b"x"}, caption=False)
    yield from told("image-outside", {"./outside.png": picture}, caption=False)


def _text(seed: int, data: bytes) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_bytes(data)
        path.with_suffix(".png").write_bytes(encoded("PNG", seed))

    return make


def _captions() -> Iterator[Case]:
    tokens = ", ".join(f"x{n}" for n in range(40))
    texts = (
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
        ("tokens", "caption-tokens", f"qb_fox, {tokens}".encode()),
        ("face", "face-described", b"qb_fox, green eyes, thin lips, on a roof"),
        ("same", "caption-same", f"qb_fox, {CAPTIONS[0]}".encode()),
    )
    for seed, (name, rule, data) in enumerate(texts, 200):
        yield from told(rule, {f"caption_{name}.txt": _text(seed, data)}, caption=False)


def _beside_captions() -> Iterator[Case]:
    """Images and captions that do not belong together."""

    def shared(path: Path) -> None:
        path.write_bytes(encoded("PNG", 223))
        path.with_suffix(".jpg").write_bytes(encoded("JPEG", 224))

    yield from told("caption-missing", {"caption_missing.png": encoded("PNG", 220)}, caption=False)
    other = _text(221, b"qb_fox, in a wrong place")
    yield from told("caption-extension", {"caption_other.caption": other}, caption=False)
    yield from told("caption-orphan", {"caption_lost.txt": b"qb_fox, nobody"}, caption=False)
    yield from told("caption-shared", {"shared.png": shared})


def _alike() -> Iterator[Case]:
    def twin(path: Path) -> None:
        path.write_bytes((path.parent / "good_00.jpg").read_bytes())

    yield from told("duplicate", {"twin.jpg": twin})
    yield from told("near-duplicate", {"nearly_twin.jpg": encoded("JPEG", 1, quality=50)})


def _caches() -> Iterator[Case]:
    def old(path: Path) -> None:
        path.write_bytes(b"old")
        os.utime(path, (1, 1))

    def prefix(path: Path) -> None:
        path.write_bytes(encoded("PNG", 230))
        path.with_name("prefix_more_0192x0064_sd.npz").write_bytes(b"new")

    stale = ("good_02_0240x0180_sd.npz", "good_03_te_outputs.npz")
    yield from told("cache-stale", dict.fromkeys(stale, old), caption=False)
    yield from told("cache-old-style", {"good_04.npz": old}, caption=False)
    yield from told("cache-size", {"prefix.png": prefix})


def _folders() -> Iterator[Case]:
    def folder(path: Path) -> None:
        path.mkdir()
        seed = 1000 + zlib.crc32(path.name.encode()) % 1000
        (path / "a.png").write_bytes(encoded("PNG", seed))
        words = f"qb_fox, folder {seed}, picture {seed * 3}, of its own"
        (path / "a.txt").write_text(words, encoding="utf-8")

    for rule, names in {
        "folder-name": ("10-minus", "words", "2.0_point"),
        "folder-zero": ("0_zero",),
        "folder-negative": ("-3_negative",),
        "folder-odd": ("1_0_odd", "007_odd", "7"),
    }.items():
        yield from told(rule, {f"./{name}": folder for name in names}, caption=False)
    yield from told("folder-empty", {"./4_empty": lambda path: path.mkdir()}, caption=False)


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
        if isinstance(case.make, bytes):
            path.write_bytes(case.make)
        else:
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
