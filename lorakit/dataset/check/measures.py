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

Light = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
Bands = np.ndarray[tuple[int, int, int], np.dtype[np.int16]]
Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
Places = np.ndarray[tuple[int], np.dtype[np.int64]]

EDGES = ("top", "bottom", "left", "right")
TARGET_SIDE = 1024  # of a picture that lacks nothing in resolution
WORKING_SIDE = 768  # large enough to see motion blur, small enough for a hundred pictures a second
NEAR, STEP, FAR = 2, 10, 40  # levels of 255: one colour, an edge, another colour
PLAIN = 0.6  # share of a line that has one colour
LEVELS = np.arange(256)
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
    light = np.asarray(grey)
    bands = _bands(light)
    sharpness, noise = _texture(bands) if min(light.shape) > 2 else (0.0, 0.0)
    counts = np.array(grey.histogram())  # one pass in C for four measures
    below, size = counts.cumsum(), max(1, light.size)
    low, high = np.searchsorted(below, np.array([0.05, 0.95]) * (light.size - 1), "right")
    shrunk = image.size != grey.size  # which has smoothed blocks away
    return Look(
        width=image.width,
        height=image.height,
        sharpness=round(sharpness, 2),
        brightness=round(float(counts @ LEVELS / size / 255), 4),
        clipped=round(float((below[2] + size - below[252]) / size), 4),
        contrast=round(float((high - low) / 255), 4),
        noise=round(noise, 3),
        blocks=1.0 if shrunk else round(_blocks(bands), 3),
        dhash=dhash(grey),
        bars=round(_bars(light), 3),
    )


def dhash(image: Image.Image) -> int:
    """64 bits, one per neighbour in a 9x8 thumbnail: survives scaling, not cropping."""
    grey = image if image.mode == "L" else image.convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def is_grey(pixels: Pixels) -> bool:
    """Hardly a pixel where a channel is far off the mean of all three."""
    red, green, blue = pixels[::4, ::4].reshape(-1, 3).T
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > 10) < 0.002 * spread.size)


def border(pixels: Pixels) -> str:
    """Edges with a band of one colour: letterboxes, frames, caption strips."""
    if min(pixels.shape[:2]) < 80:
        return ""
    across, down = pixels[:, ::2], pixels[::2].swapaxes(0, 1)
    sides = (across, across[::-1], down, down[::-1])
    return ", ".join(edge for edge, lines in zip(EDGES, sides, strict=True) if _is_framed(lines))


def _is_framed(lines: Pixels) -> bool:
    """The first fortieth of the lines holds one colour, and some later line does not."""
    if int(lines[0, :, 1].max()) - int(lines[0, :, 1].min()) >= 2 * FAR:
        return False  # most pictures: nothing more is looked at
    colour = lines[0].mean(axis=0)
    off = np.abs(lines[: max(2, -(-len(lines) // 40))] - colour)
    plain = off.max() < FAR and off.mean() < 1.5
    return bool(plain and np.abs(lines[::8] - colour).max() >= FAR)


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
    rows = 1 + 50_000 // max(1, len(group))  # no more memory than that
    for start in range(0, len(group) - 1, rows):
        differing = values[group[start : start + rows], None] ^ values[group]
        bits = np.unpackbits(differing.view(np.uint8).reshape(*differing.shape, 8), axis=2)
        distances = bits.sum(axis=2, dtype=np.uint8)
        for i, j in np.argwhere(distances <= within).tolist():
            if start + i < j:
                yield (int(group[start + i]), int(group[j])), int(distances[i, j])


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


def _bands(light: Light) -> Bands:
    """Every third strip of 18 lines, which says as much as all; whole numbers, so it is exact."""
    deep = min(18, len(light))
    places = range(0, len(light) - deep + 1, 48)
    return np.stack([light[at : at + deep] for at in places]).astype(np.int16)


def _texture(bands: Bands) -> tuple[float, float]:
    """Sharpness: the variance of the Laplacian. Grain: second differences both ways, which blank
    edges and slopes, in the flattest tiles.
    """
    across = bands[:, 1:-1, :-2] - 2 * bands[:, 1:-1, 1:-1] + bands[:, 1:-1, 2:]
    down = bands[:, :-2] - 2 * bands[:, 1:-1] + bands[:, 2:]
    edges = (across + down[:, :, 1:-1]).astype(np.float32).ravel()
    sharpness = float(edges @ edges / edges.size - (edges.sum() / edges.size) ** 2)
    wide = (bands.shape[2] - 2) // 16
    if bands.shape[1] < 18 or wide < 2:
        return sharpness, 0.0
    rough = np.abs(down[:, :, :-2] - 2 * down[:, :, 1:-1] + down[:, :, 2:])
    lines = rough.sum(axis=1, dtype=np.int16)[:, : 16 * wide]  # 16 lines of at most 2040 each
    tiles = np.sort(lines.reshape(-1, 16).sum(axis=1, dtype=np.int32)) / 256
    # a second difference of white noise has 6 times its variance in each direction; sqrt(pi/2)
    # turns mean deviation into deviation
    return sharpness, float(tiles[len(tiles) // 4] * np.sqrt(np.pi / 2) / 6)


def _blocks(bands: Bands) -> float:
    """JPEG's 8-pixel grid: the mean step across its borders over the mean step everywhere else."""
    steps = np.abs(bands[:, :, 1:] - bands[:, :, :-1]).mean(axis=(0, 1), dtype=np.float32)
    if len(steps) < 32:
        return 1.0
    border = np.zeros(len(steps), dtype=bool)
    border[7::8] = True
    return float((steps[border].mean() + 0.5) / (steps[~border].mean() + 0.5))


def _bars(light: Light) -> float:
    """Bands of one colour with a straight end, words in them or not; no plain background."""
    down, across = light, light.T
    ends = (_band(down), _band(down[::-1])), (_band(across), _band(across[::-1]))
    return float(max(min(0.95, sum(pair)) for pair in ends))


def _band(lines: Light) -> float:
    """The share of the lines, from the first on, that the longest such band takes."""
    count = len(lines)
    first = lines[: max(1, count // 100)]
    shades = np.sort(first, axis=None)
    colour = int(shades[first.size // 2])
    low, high = shades.searchsorted((colour - NEAR, colour + NEAR + 1))
    if count < 64 or high - low < PLAIN * first.size:
        return 0.0  # most pictures: nothing more is looked at
    steps = np.abs(np.diff(lines[: count // 2].astype(np.int16), axis=0)) > STEP
    for end in np.flatnonzero(steps.mean(axis=1) > PLAIN)[::-1]:
        if _plain(lines[: end + 1 : 1 + end // 64], colour) > PLAIN:
            return float((end + 1) / count)
    return 0.0


def _plain(lines: Light, colour: int) -> float:
    """The share of the pixels that have this colour."""
    near = (lines >= max(0, colour - NEAR)) & (lines <= min(255, colour + NEAR))
    return float(np.count_nonzero(near) / lines.size)
