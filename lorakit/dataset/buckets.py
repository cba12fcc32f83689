"""Which bucket sd-scripts or musubi-tuner puts an image into, exactly, before it does so. Pure; no
numpy, because `plan` must start at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Size = tuple[int, int]  # width, height
WORDS = {  # kohya's options for what BucketRules names
    "enable": "enable_bucket",
    "min": "min_bucket_reso",
    "max": "max_bucket_reso",
    "step": "bucket_reso_steps",
    "no_upscale": "bucket_no_upscale",
}
CROP_LIMIT = 0.15  # of a picture: what a bucket may cut off before we warn


class UnfitError(ValueError):
    """This image has no bucket: kohya would stop with a bare ZeroDivisionError."""


@dataclass(frozen=True)
class BucketRules:
    """Named as kohya's options, without their `bucket` affixes; defaults are the script's."""

    resolution: Size
    enable: bool = True
    min: int = 256
    max: int = 1024
    step: int = 64
    no_upscale: bool = False
    # musubi-tuner's: sides from half of the square's up, without bounds; under no_upscale a small
    # picture keeps its size, and a large one goes to the nearest bucket.
    by_area: bool = False

    @classmethod
    def said(cls, resolution: Size, words: Mapping[str, Any]) -> "BucketRules":
        """In kohya's words; what they leave out is the script's default."""
        own = {name: words[word] for name, word in WORDS.items() if word in words}
        return cls(resolution, **own)

    @property
    def low(self) -> int:
        """min, down to a multiple of step, as kohya does with a warning."""
        return self.min - self.min % self.step

    @property
    def high(self) -> int:
        """max, up to a multiple of step."""
        return self.max + -self.max % self.step


@dataclass(frozen=True)
class Placement:
    """Where an image lands: its bucket, and the size it is scaled to before the centre crop."""

    bucket: Size
    scaled: Size
    error: float

    @property
    def cropped(self) -> float:
        """The share of the scaled image that the centre crop throws away, 0 to 1."""
        return 1 - (self.bucket[0] * self.bucket[1]) / max(1, self.scaled[0] * self.scaled[1])

    def scale(self, width: int) -> float:
        """Above 1: the image is enlarged."""
        return self.scaled[0] / width


def check(rules: BucketRules) -> list[str]:
    """What kohya would assert or divide by zero over, whatever the images are; empty: nothing."""
    (width, height), step = rules.resolution, rules.step
    size = f"{width}x{height}"
    if min(width, height) < 1:
        return [f"resolution {size}: both sides must be positive"]
    if not rules.enable:
        return []
    if rules.by_area:
        small = math.sqrt(width * height) // 2 < step
        return [f"resolution {size} has no buckets of {step}"] if small else []
    if step < 1:
        return [f"bucket_reso_steps = {step}: must be positive"]
    problems = []
    if min(width, height) < rules.low:
        what = f"min_bucket_reso = {rules.min} is larger than the short side of resolution"
        problems.append(f"{what} {size}")
    if max(width, height) > rules.high:
        what = f"max_bucket_reso = {rules.max} is smaller than the long side of resolution"
        problems.append(f"{what} {size}")
    if not rules.no_upscale and rules.low < 1:
        what = f"min_bucket_reso = {rules.min} is below bucket_reso_steps = {step}"
        problems.append(f"{what}: it is rounded down to 0")
    if not rules.no_upscale and math.sqrt(width * height) < step:
        what = f"resolution {size} is below bucket_reso_steps = {step}"
        problems.append(f"{what}: the square bucket would be empty")
    return problems


def bucket_sizes(rules: BucketRules) -> tuple[Size, ...]:
    """The fixed buckets, as kohya sorts them: ties go to the first. One when buckets are off."""
    if not rules.enable:
        return (rules.resolution,)
    area, step = rules.resolution[0] * rules.resolution[1], rules.step
    if rules.by_area:
        side = int(math.sqrt(area))
        low = side // 2 - side // 2 % step
        pairs = [(wide, area // wide // step * step) for wide in range(low, side + step, step)]
        return tuple(sorted({*pairs, *((high, wide) for wide, high in pairs)}))
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)}
    for width in range(rules.low, rules.high + 1, step):
        height = min(rules.high, area // width // step * step)
        if height >= rules.low:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


class Chooser:
    """Chooses as kohya does; remembers what it chose, because photos come in few sizes."""

    def __init__(self, rules: BucketRules) -> None:
        problems = check(rules)
        if problems:
            raise ValueError("; ".join(problems))
        self.rules = rules
        # no_upscale has no fixed buckets
        self.free = rules.enable and rules.no_upscale and not rules.by_area
        self.sizes = () if self.free else bucket_sizes(rules)
        self._ratios = [width / height for width, height in self.sizes]
        self._known: dict[Size, Placement] = {}

    def choose(self, width: int, height: int) -> Placement:
        """Raises UnfitError where kohya would divide by zero."""
        size = (width, height)
        if size not in self._known:
            if min(size) < 1:
                raise UnfitError(f"{width}x{height} has no bucket")
            place = self._shrunk if self.free else self._nearest
            small = width * height <= self.rules.resolution[0] * self.rules.resolution[1]
            if self.rules.by_area and self.rules.no_upscale and small:
                self._known[size] = self._within(width, height, size)
            else:
                self._known[size] = place(width, height)
        return self._known[size]

    def place(self, width: int, height: int) -> Placement | None:
        """None where there is no bucket."""
        try:
            return self.choose(width, height)
        except UnfitError:
            return None

    def _nearest(self, width: int, height: int) -> Placement:
        ratio = width / height
        bucket = (width, height)
        if bucket not in self.sizes or self.rules.by_area:
            distances = [abs(known - ratio) for known in self._ratios]
            bucket = self.sizes[distances.index(min(distances))]
        bucket_ratio = bucket[0] / bucket[1]
        scale = bucket[1] / height if ratio > bucket_ratio else bucket[0] / width
        return Placement(
            bucket, (int(width * scale + 0.5), int(height * scale + 0.5)), bucket_ratio - ratio
        )

    def _within(self, width: int, height: int, scaled: Size) -> Placement:
        """Both sides floored to the step."""
        step = self.rules.step
        bucket = (scaled[0] - scaled[0] % step, scaled[1] - scaled[1] % step)
        if not all(bucket):
            raise UnfitError(f"{width}x{height} has a side below {step} pixels")
        return Placement(bucket, scaled, bucket[0] / bucket[1] - width / height)

    def _shrunk(self, width: int, height: int) -> Placement:
        """no_upscale: down to about the area if larger, then both sides floored to the step."""
        ratio, step = width / height, self.rules.step
        scaled = (width, height)
        area = self.rules.resolution[0] * self.rules.resolution[1]
        if width * height > area:
            wide = math.sqrt(area * ratio)
            by_width, by_height = self._floored(wide), self._floored(area / wide)
            other_height = self._floored(by_width / ratio)
            other_width = self._floored(by_height * ratio)
            if not other_height or not by_height:
                raise UnfitError(f"{width}x{height} shrinks to less than {step} pixels on one side")
            if abs(by_width / other_height - ratio) < abs(other_width / by_height - ratio):
                scaled = (by_width, int(by_width / ratio + 0.5))
            else:
                scaled = (int(by_height * ratio + 0.5), by_height)
        return self._within(width, height, scaled)

    def _floored(self, length: float) -> int:
        rounded = int(length + 0.5)
        return rounded - rounded % self.rules.step
