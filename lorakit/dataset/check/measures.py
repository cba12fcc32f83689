"""What can be measured in one picture without knowing what it shows: sharpness, exposure,
contrast, noise, block artefacts, likeness.

Every measure is taken from the luminance at one working size, so that a 12-megapixel photo and its
thumbnail are judged alike; resolution is counted on its own. Scores run from 0 to 100 and say how
much a trainer can learn, not how much anybody likes it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from lorakit.dataset.check.model import Look

Floats = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
Places = np.ndarray[tuple[int], np.dtype[np.int64]]

TARGET_SIDE = 1024  # of a picture that lacks nothing in resolution
WORKING_SIDE = 768  # large enough to see motion blur, small enough for a hundred pictures a second
NEAR, STEP, PLAIN = 2.5, 10.0, 0.6  # levels of 255: one colour, an edge; share of a line
WEIGHTS = {
    "resolution": 0.20,
    "sharpness": 0.30,
    "exposure": 0.15,
    "contrast": 0.10,
    "cleanness": 0.15,
    "uniqueness": 0.10,
}


def measure(image: Image.Image) -> Look:
    """Measure an open image, EXIF orientation as the caller left it."""
    grey = image.convert("L")
    grey.thumbnail((WORKING_SIDE, WORKING_SIDE), reducing_gap=2.0)
    light: Floats = np.asarray(grey, dtype=np.float32)
    counts = np.array(grey.histogram())  # one pass in C for four measures
    below, total_pixels = counts.cumsum(), max(1, light.size)
    low, high = np.searchsorted(below, (0.05 * (light.size - 1), 0.95 * (light.size - 1)), "right")
    shrunk = image.size != grey.size  # which has smoothed blocks away
    return Look(
        width=image.width,
        height=image.height,
        sharpness=round(float(_laplacian(light).var()), 2) if min(light.shape) > 2 else 0.0,
        brightness=round(float(counts @ np.arange(256) / total_pixels / 255), 4),
        clipped=round(float((counts[:3].sum() + counts[253:].sum()) / total_pixels), 4),
        contrast=round(float((high - low) / 255), 4),
        noise=round(_noise(light), 3),
        blocks=1.0 if shrunk else round(_blocks(light), 3),
        dhash=dhash(image),
        bars=round(_bars(light), 3),
    )


def dhash(image: Image.Image) -> int:
    """64 bits, one per neighbour in a 9x8 thumbnail: survives scaling, not cropping."""
    small = np.asarray(image.convert("L").resize((9, 8), resample=3), dtype=np.int16)  # 3: bicubic
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def near_pairs(hashes: Sequence[int], *, within: int = 5) -> list[tuple[int, int, int]]:
    """Pairs (i, j, distance) whose hashes differ in at most `within` bits.

    Two hashes within d bits agree exactly in at least one of d+1 slices, so only pairs that share a
    slice are compared. Of equal hashes each is paired with the first alone: a thousand blank
    pictures are a thousand pairs, not half a million.
    """
    numbers = np.asarray(hashes, dtype=np.uint64)
    values, firsts, back = np.unique(numbers, return_index=True, return_inverse=True)
    equal = [(int(firsts[group]), i, 0) for i, group in enumerate(back) if firsts[group] != i]
    found: dict[tuple[int, int], int] = {}
    edges = np.linspace(0, 64, within + 2).astype(int)
    for start, stop in pairwise(edges):
        slices = (values >> np.uint64(start)) & np.uint64((1 << int(stop - start)) - 1)
        order = np.argsort(slices, kind="stable")
        borders = np.flatnonzero(np.diff(slices[order])) + 1
        for group in np.split(order, borders):
            found.update(_near(values, np.sort(group), within))
    near = [(int(firsts[i]), int(firsts[j]), distance) for (i, j), distance in found.items()]
    return sorted((min(i, j), max(i, j), distance) for i, j, distance in [*equal, *near])


def _near(values: Hashes, group: Places, within: int) -> Iterator[tuple[tuple[int, int], int]]:
    for place, first in enumerate(group[:-1]):
        others = group[place + 1 :]
        differing = (values[others] ^ values[first]).view(np.uint8).reshape(-1, 8)
        distances = np.unpackbits(differing, axis=1).sum(axis=1)
        for at in np.flatnonzero(distances <= within):
            yield (int(first), int(others[at])), int(distances[at])


def scores(look: Look, *, nearest: int = 64) -> dict[str, float]:
    """0..100 each; `nearest` is the distance in bits to the most alike better picture."""
    grain, blocks = _ramp(look.noise, 2.5, 14), _ramp(look.blocks, 1.15, 2.2)
    dirt = max(grain, blocks, _ramp(100 - look.jpeg, 4, 75))
    extreme = _ramp(abs(look.brightness - 0.5), 0.15, 0.5)
    parts = {
        "resolution": 100 * min(1.0, min(look.width, look.height) / TARGET_SIDE),
        "sharpness": _ramp(np.log10(look.sharpness + 1), 0.4, 2.4),
        "exposure": (100 - extreme) * (1 - min(1.0, 4 * look.clipped)),
        "contrast": _ramp(look.contrast, 0.1, 0.55),
        "cleanness": 100 - dirt,
        "uniqueness": _ramp(nearest, 3, 14),
        "frame": (100 - 0.6 * _ramp(look.bars, 0.005, 0.05)) * (1 - look.bars),
    }
    return {name: round(value, 1) for name, value in parts.items()}


def total(parts: dict[str, float]) -> float:
    """The weighted mean, less where blur, exposure, dirt, size or bars spoil a picture."""
    mean = sum(WEIGHTS[name] * parts[name] for name in WEIGHTS)
    worst = min(parts[name] for name in ("sharpness", "exposure", "cleanness"))
    size = min(1.0, 0.5 + parts["resolution"] / 100)
    return round(mean * min(1.0, 0.4 + worst * 0.012) * size * parts["frame"] / 100, 1)


def _ramp(value: float, low: float, high: float) -> float:
    return float(100 * min(1.0, max(0.0, (value - low) / (high - low))))


def _laplacian(light: Floats) -> Floats:
    across = light[1:-1, :-2] + light[1:-1, 2:]
    down = light[:-2, 1:-1] + light[2:, 1:-1]
    return across + down - 4 * light[1:-1, 1:-1]


def _noise(light: Floats) -> float:
    """Grain: second differences, which blank edges and slopes, in the flattest tiles."""
    if min(light.shape) < 34:
        return 0.0
    rough = light[:-2] - 2 * light[1:-1] + light[2:]
    rough = np.abs(rough[:, :-2] - 2 * rough[:, 1:-1] + rough[:, 2:])
    height, width = (side // 16 * 16 for side in rough.shape)
    tiles = rough[:height, :width].reshape(height // 16, 16, width // 16, 16).mean(axis=(1, 3))
    # a second difference of white noise has 6 times its variance in each direction; sqrt(pi/2)
    # turns mean deviation into deviation
    return float(np.quantile(tiles, 0.25) * np.sqrt(np.pi / 2) / 6)


def _blocks(light: Floats) -> float:
    """JPEG's 8-pixel grid: the mean step across its borders over the mean step everywhere else."""
    steps = np.abs(np.diff(light, axis=1))
    if steps.shape[1] < 32:
        return 1.0
    border = np.zeros(steps.shape[1], dtype=bool)
    border[7::8] = True
    return float((steps[:, border].mean() + 0.5) / (steps[:, ~border].mean() + 0.5))


def _bars(light: Floats) -> float:
    """Bands of one colour with a straight end, words in them or not; no plain background."""
    down, across = light, light.T
    ends = (_band(down), _band(down[::-1])), (_band(across), _band(across[::-1]))
    return float(max(min(0.95, sum(pair)) for pair in ends))


def _band(lines: Floats) -> float:
    """The share of the lines, from the first on, that the longest such band takes."""
    count = len(lines)
    first = lines[: max(1, count // 100)]
    if count < 64 or _plain(first, np.median(first)).mean() < PLAIN:
        return 0.0  # most pictures: nothing more is looked at
    steps = np.abs(np.diff(lines[: count // 2], axis=0)) > STEP
    for end in np.flatnonzero(steps.mean(axis=1) > PLAIN)[::-1]:
        band = lines[: end + 1]
        if _plain(band[:: 1 + end // 64], np.median(first)).mean() > PLAIN:
            return float((end + 1) / count)
    return 0.0


def _plain(lines: Floats, colour: np.floating) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    found: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = np.abs(lines - colour) <= NEAR
    return found
