"""Are pictures scored in the right order? python tools/quality_set.py [--pictures 8] [--json]

Renders scenes that have what photographs have (soft shading, edges, texture at every scale, grain),
worsens each by known steps, and compares the order of the scores with the order of the steps
(Spearman's rank correlation). Also: a phone's screenshot of each, twins, and an album of 137 from
which guide 4 takes 3 x 18. Nothing is fetched and no picture is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lorakit.dataset.choose.rank import Ranked, by_category, rank, select

SIZE = (960, 1280)
Worsen = Callable[[Image.Image, float], Image.Image]


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Light over shapes over texture: the spectrum falls as 1/f, as that of photographs does."""
    noise = np.random.default_rng(seed)
    wide, high = size
    ground = np.stack([_texture(noise, size) for _ in range(3)], axis=2)
    ground = ground * 14 + noise.uniform(90, 150, 3)
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(noise.integers(0, wide)), int(noise.integers(0, high))
        r = int(noise.integers(6, wide // 5))
        fill = tuple(int(one) for one in noise.integers(25, 235, 3))
        corners = [(int(x + r * a), int(y + r * b)) for a, b in noise.normal(0, 0.7, (5, 2))]
        pen.polygon(corners, fill=fill) if r % 3 == 0 else pen.ellipse(
            (x, y, x + r, y + r), fill=fill
        )
    grain = _texture(noise, size)[:, :, None] * 12 + noise.normal(0, 1.5, (high, wide, 1))
    light = np.linspace(0.8, 1.15, wide)[None, :, None]
    lit = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float32) * light + grain
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _texture(noise: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    wide, high = size
    y, x = np.fft.fftfreq(high)[:, None], np.fft.fftfreq(wide)[None, :]
    spectrum = np.fft.fft2(noise.standard_normal((high, wide))) / np.maximum(np.hypot(x, y), 1e-3)
    found = np.fft.ifft2(spectrum).real
    return np.asarray((found - found.mean()) / found.std(), dtype=np.float32)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(int(deviation)).normal(0, deviation, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    return scaled(image, 1 / factor).resize(image.size, Image.Resampling.BICUBIC)


def exposed(image: Image.Image, gain: float) -> Image.Image:
    return image.point(lambda value: min(255, round(value * gain)))


def barred(image: Image.Image, share: float) -> Image.Image:
    high = round(image.height * share / 2)
    done = Image.new("RGB", image.size, "white" if image.width % 2 else "black")
    done.paste(image.crop((0, high, image.width, image.height - high)), (0, high))
    return done


def captioned(image: Image.Image, share: float) -> Image.Image:
    """A strip of words below, as memes and shops have it."""
    high = round(image.height * share)
    if not high:
        return image
    done = Image.new("RGB", image.size, "white")
    done.paste(image.crop((0, 0, image.width, image.height - high)))
    pen = ImageDraw.Draw(done)
    font = ImageFont.load_default(high / 3)
    pen.text((20, image.height - high * 0.7), "SUMMER SALE, 3 FOR 2", "black", font)
    return done


def screenshot(image: Image.Image, *, dark: bool) -> Image.Image:
    """A phone's: status bar, the picture, a heading and lines of comment, buttons."""
    paper, ink = ("#101014", "#e8e8ea") if dark else ("#ffffff", "#202124")
    done = Image.new("RGB", (1080, 2220), paper)
    pen, font = ImageDraw.Draw(done), ImageFont.load_default(36)
    pen.text((60, 28), "12:04", ink, font)
    pen.text((860, 28), "5G  87 %", ink, font)
    done.paste(image.resize((1080, 1440)), (0, 200))
    for line, words in enumerate(("1,204 likes", "somebody  what a day", "View all 32 comments")):
        pen.text((60, 1700 + 70 * line), words, ink, font)
    for place in range(5):
        pen.rounded_rectangle((80 + 200 * place, 2090, 160 + 200 * place, 2160), 16, outline=ink)
    return done


LADDERS: dict[str, tuple[Worsen, tuple[float, ...]]] = {  # from the best step to the worst
    "blur": (blurred, (0, 1, 2, 4, 8, 14)),
    "noise": (noisy, (0, 6, 12, 24, 40, 60)),
    "jpeg": (lambda image, _: image, (95, 90, 75, 50, 30, 15, 5)),
    "scale": (scaled, (1, 0.75, 0.5, 0.3, 0.2, 0.1)),
    "enlarged": (enlarged, (1, 2, 3, 5, 8, 12)),
    "dark": (exposed, (1, 0.7, 0.5, 0.35, 0.2, 0.1)),
    "burnt": (exposed, (1, 1.5, 2, 2.8, 4, 6)),
    "bars": (barred, (0, 0.05, 0.1, 0.2, 0.35, 0.5)),
    "strip": (captioned, (0, 0.05, 0.1, 0.2, 0.3)),
}


def write_ladders(root: Path, seed: int, names: Iterator[str] | None = None) -> None:
    """One folder a ladder, so that a picture and its worse selves are no twins of another's."""
    picture = scene(seed)
    for name in names or LADDERS:
        worsen, steps = LADDERS[name]
        for place, step in enumerate(steps):
            folder = root / f"{name}-{seed}-{place}"
            folder.mkdir(parents=True)
            quality = int(step) if name == "jpeg" else 95
            worsen(picture, step).save(folder / "a.jpg", subsampling=0, quality=quality)


def scores_of(root: Path) -> dict[str, float]:
    """Each alone: what stands beside it does not count here."""
    return {folder.name: rank(folder)[0].score for folder in sorted(root.iterdir())}


def spearman(scores: list[float]) -> float:
    """Of scores against falling steps, ties as their mean rank."""
    values = np.asarray(scores)
    ranks = np.array([(values < one).sum() + ((values == one).sum() - 1) / 2 for one in values])
    return float(np.corrcoef(ranks, -np.arange(len(ranks)))[0, 1]) if np.ptp(ranks) else 0.0


def correlations(seeds: range) -> tuple[dict[str, list[float]], list[float]]:
    found: dict[str, list[float]] = {name: [] for name in LADDERS}
    margins = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            write_ladders(Path(place), seed)
            scores = scores_of(Path(place))
        for name, (_, steps) in LADDERS.items():
            found[name].append(
                spearman([scores[f"{name}-{seed}-{at}"] for at in range(len(steps))])
            )
        margins.append(scores[f"jpeg-{seed}-1"] - scores[f"jpeg-{seed}-6"])
    return found, margins


def best_screenshot(count: int) -> float:
    """The place of the best screenshot among as many pictures of middling kinds, 0 being first."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "album"
        folder.mkdir()
        kinds = [(blurred, 1.0), (noisy, 6.0), (exposed, 0.6), (scaled, 0.6)]
        for number in range(count):
            worsen, step = kinds[number % len(kinds)]
            worsen(scene(500 + number), step).save(folder / f"photo{number}.jpg", quality=80)
            shot = screenshot(scene(700 + number), dark=bool(number % 2))
            shot.save(folder / f"shot{number}.{'png' if number % 3 else 'jpg'}")
        ranked = rank(folder)
    shots = [place for place, one in enumerate(ranked) if "shot" in one.file]
    return min(shots) / len(ranked)


def album(root: Path, count: int = 137) -> None:
    """As guide 4 has it: three categories, some of them spoilt, some the same twice."""
    noise = np.random.default_rng(4)
    for number in range(count):
        folder = root / ("face", "half", "body")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture = scene(1000 + number - (3 if number % 20 > 16 else 0), (600, 800))
        kind = noise.choice(["", "", "", *LADDERS])
        worsen, steps = LADDERS[kind] if kind else (blurred, (0,))
        step = float(noise.choice(steps))
        quality = int(step) if kind == "jpeg" else int(noise.integers(80, 96))
        worsen(picture, step).save(folder / f"{number:03}.jpg", quality=quality)


def guide_four(worst: float) -> dict[str, tuple[int, float]]:
    with tempfile.TemporaryDirectory() as place:
        album(Path(place))
        ranked = rank(Path(place))
        chosen = select(ranked, per_category=18, worst=worst, diverse=True)
        assert len(by_category(ranked)) == 3
    return chosen.averages()


def twins() -> tuple[Ranked, Ranked, Ranked]:
    """A picture alone, then the same beside a worse copy, and that copy."""
    with tempfile.TemporaryDirectory() as place:
        alone, both = Path(place) / "alone", Path(place) / "both"
        for folder in (alone, both):
            folder.mkdir()
            scene(9).save(folder / "good.jpg", quality=95)
        scaled(scene(9), 0.5).save(both / "worse.jpg", quality=60)
        (single,) = rank(alone)
        good, worse = sorted(rank(both), key=lambda one: one.file)
    return single, good, worse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found, margins = correlations(range(args.pictures))
    single, good, worse = twins()
    data = {
        "least correlation": {name: round(min(values), 3) for name, values in found.items()},
        "mean correlation": {name: round(mean(values), 3) for name, values in found.items()},
        "jpeg 90 above jpeg 5, least": round(min(margins), 1),
        "best screenshot, share of the list before it": round(best_screenshot(8), 2),
        "twin: alone, beside a worse one, the worse one": [single.score, good.score, worse.score],
        "guide 4": guide_four(0.3),
    }
    sys.stdout.write(json.dumps(data, indent=None if args.json else 2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
