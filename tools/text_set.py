"""Is writing found in pictures, and only there? python tools/text_set.py [--pictures 6] [--json]

Needs lorakit[text]. Renders scenes as tools/quality_set.py does, and writes on them what pictures
from the web carry: watermarks at several opacities, upright and slanting, captions, a strip,
a phone's screenshot. As many have no letter: scenes, bricks, leaves, a fence, windows, chessboards.
Then looks at all of them as `lorakit dataset check --text` does. No picture is kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from quality_set import captioned, scene, screenshot

from lorakit.dataset.check.looks import open_reader, text_faults

SIZE = (600, 800)
OPACITIES = (0.15, 0.25, 0.4, 0.7)
MARKS = ("STOCKPHOTO", "example.com", "PREVIEW ONLY", "(c) a studio", "Gallery 51", "SAMPLE")


def marked(image: Image.Image, seed: int, opacity: float, *, slant: bool) -> Image.Image:
    """A white or black watermark across the picture."""
    noise = np.random.default_rng(seed)
    words, ink = MARKS[seed % len(MARKS)], (255, 255, 255) if seed % 3 else (0, 0, 0)
    layer = Image.new("L", image.size)
    font = ImageFont.load_default(float(noise.integers(36, 80)))
    pen = ImageDraw.Draw(layer)
    wide = pen.textlength(words, font)
    left = (image.width - wide) / 2
    pen.text((left, int(noise.integers(150, 600))), words, round(255 * opacity), font)
    if slant:
        layer = layer.rotate(float(noise.integers(20, 40)), Image.Resampling.BICUBIC)
    done = image.copy()
    done.paste(ink, mask=layer)
    return done


def written(image: Image.Image, seed: int) -> Image.Image:
    """Two lines as on a meme or a poster."""
    done = image.copy()
    pen, font = ImageDraw.Draw(done), ImageFont.load_default(30 + 4 * (seed % 8))
    for high, words in ((40, "when it is Monday"), (700, "and the tea is gone")):
        pen.text((40, high), words, "white", font, stroke_width=2, stroke_fill="black")
    return done


def bricks(seed: int) -> Image.Image:
    image = Image.new("RGB", SIZE, "#b9b0a2")
    pen, noise = ImageDraw.Draw(image), np.random.default_rng(seed)
    for row in range(0, SIZE[1], 40):
        for left in range(-60 + 45 * (row // 40 % 2), SIZE[0], 90):
            red = int(noise.integers(120, 180))
            pen.rectangle((left, row, left + 84, row + 34), fill=(red, red // 2, red // 3))
    return image


def leaves(seed: int) -> Image.Image:
    image = Image.new("RGB", SIZE, "#20301a")
    noise = np.random.default_rng(seed)
    pen = ImageDraw.Draw(image)
    for x, y, r, green in noise.integers((0, 0, 8, 70), (*SIZE, 40, 220), (900, 4)).tolist():
        pen.chord((x, y, x + r, y + 2 * r), 20 + green, 200 + green, fill=(green // 2, green, 40))
    return image


def fence(seed: int) -> Image.Image:
    image = scene(seed, SIZE)
    pen = ImageDraw.Draw(image)
    for left in range(seed % 20, SIZE[0], 46):
        pen.rectangle((left, 300, left + 14, 800), fill="#e8e4da", outline="#55504a")
    pen.rectangle((0, 380, SIZE[0], 400), fill="#e8e4da", outline="#55504a")
    return image


def windows(seed: int) -> Image.Image:
    image = Image.new("RGB", SIZE, "#8d8f94")
    pen, noise = ImageDraw.Draw(image), np.random.default_rng(seed)
    for top in range(30, SIZE[1], 80):
        for left in range(30, SIZE[0], 70):
            shade = int(noise.integers(30, 230))
            pen.rectangle(
                (left, top, left + 36, top + 52), fill=(shade, shade, 90), outline="black"
            )
            pen.line((left + 18, top, left + 18, top + 52), fill="black", width=2)
    return image


def chessboard(seed: int) -> Image.Image:
    side = 20 + seed % 60
    y, x = np.indices((SIZE[1], SIZE[0])) // side
    return Image.fromarray(((x + y) % 2 * 200 + 20).astype(np.uint8)).convert("RGB")


PLAIN: dict[str, Callable[[int], Image.Image]] = {
    "scene": lambda seed: scene(seed, SIZE),
    "bricks": bricks,
    "leaves": leaves,
    "fence": fence,
    "windows": windows,
    "chessboard": chessboard,
}
WRITTEN: dict[str, Callable[[int], Image.Image]] = {
    "poster": lambda seed: written(scene(seed, SIZE), seed),
    "strip": lambda seed: captioned(scene(seed, SIZE), 0.12),
    "screenshot": lambda seed: screenshot(scene(seed, SIZE), dark=bool(seed % 2)),
    **{
        f"{kind} at {opacity:.0%}": lambda seed, opacity=opacity, slant=slant: marked(  # type: ignore[misc]
            scene(seed, SIZE), seed, opacity, slant=slant
        )
        for kind, slant in (("watermark", False), ("slanting", True))
        for opacity in OPACITIES
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=6, help="of each kind")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    reader = open_reader()
    found: dict[str, int] = {}
    for kind, draw in {**WRITTEN, **PLAIN}.items():
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{number}.jpg" for number in range(args.pictures)]
            for number, path in enumerate(paths):
                draw(3000 + number).save(path, quality=90)
            found[kind] = len(list(text_faults(reader, paths, lambda _done, _all: None)))
    rightly = sum(found[kind] for kind in WRITTEN)
    wrongly = sum(found[kind] for kind in PLAIN)
    total = {
        "precision": round(rightly / max(1, rightly + wrongly), 3),
        "recall": round(rightly / (args.pictures * len(WRITTEN)), 3),
        "of each kind": args.pictures,
        "named": found,
    }
    if args.json:
        print(json.dumps(total, indent=1))
        return
    for kind, count in found.items():
        print(
            f"{kind:20} {count:3} of {args.pictures} named{' (no letter in it)' * (kind in PLAIN)}"
        )
    print(f"precision {total['precision']:.1%}, recall {total['recall']:.1%}")


if __name__ == "__main__":
    main()
