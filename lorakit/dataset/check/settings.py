"""What the rules must know of the recipe."""

from __future__ import annotations

from dataclasses import dataclass

from lorakit.dataset.buckets import CROP_LIMIT, BucketRules


@dataclass(frozen=True)
class CheckSettings:
    """A bare folder leaves most of it open, and those rules stay silent."""

    trigger: str = ""
    buckets: BucketRules | None = None
    exact_size: bool = False  # buckets off, latents not cached: all images have the resolution
    token_limit: int = 75  # 0: not counted (the family reads captions with another tokeniser)
    crop_limit: float = CROP_LIMIT  # share of the image that may be lost to the crop
    near_bits: int = 5  # dHashes that differ in at most this many bits are near-duplicates
    off: frozenset[str] = frozenset()
