"""Every fault of a dataset at once: names and headers (scan), pixels, captions, balance. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import without
from lorakit.errors import Fault


@dataclass(frozen=True)
class Wants:
    """What the recipe says that a rule must know. A bare folder leaves most of it open, and those rules stay silent."""

    trigger: str = ""
    buckets: BucketRules | None = None
    exact_size: bool = False             # buckets off and latents not cached: every image must have the resolution's size
    token_limit: int = 75                # 0: not counted (the family reads captions with another tokeniser)
    crop_limit: float = 0.15             # share of the image that may be lost to the crop
    near_bits: int = 5                   # dHashes that differ in at most this many bits are near-duplicates
    letterboxed: bool = False            # prepare has put bars around the images on purpose
    off: frozenset[str] = frozenset()


def check(facts: DatasetFacts, wants: Wants, *, progress: Callable[[int, int], None] = lambda _done, _all: None) -> tuple[Fault, ...]:
    """Errors first, then warnings, each in the order of the files."""
    from lorakit.dataset.check.balance import balance_faults
    from lorakit.dataset.check.captions import caption_faults
    from lorakit.dataset.check.pictures import picture_faults
    from lorakit.dataset.looks import look_at

    looks = look_at(facts.root, [image.path for subset in facts.subsets for image in subset.images], progress=progress)
    found = [*facts.faults, *picture_faults(facts, looks, wants), *caption_faults(facts, wants), *balance_faults(facts, wants)]
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(without(found, wants.off), key=lambda item: order[item.severity]))
