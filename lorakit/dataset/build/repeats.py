"""Repeats from wishes: so many steps in so many epochs, subsets weighed against each other. Pure
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from lorakit.errors import RecipeError

MOST = 10_000  # repeats; more is a mistake in the wishes
EXACT_UP_TO = 10  # subsets whose roundings are all tried


@dataclass(frozen=True)
class Solution:
    repeats: tuple[int, ...]
    draws: int  # of one epoch
    steps: int  # before buckets round batches up


def solve(
    images: Sequence[int], *, draws: float, ratio: Sequence[float], epochs: int, per_step: int
) -> Solution:
    """Integer repeats, at least 1, for about `draws` samples per epoch, shared out by `ratio`."""
    if len(ratio) != len(images):
        raise RecipeError(f"--ratio: {len(ratio)} weights for {len(images)} subsets.")
    if min(ratio) <= 0 or not all(images):
        raise RecipeError("--ratio: every weight and every subset must be more than nothing.")
    shares = [
        draws * weight / sum(ratio) / count for weight, count in zip(ratio, images, strict=True)
    ]
    if max(shares) > MOST:
        raise RecipeError(
            f"that would take {max(shares):,.0f} repeats.",
            hint="Ask for fewer steps, more epochs, or add images.",
        )
    if len(shares) > EXACT_UP_TO:
        best = tuple(max(1, round(share)) for share in shares)
    else:
        choices = [
            sorted({max(1, math.floor(share)), max(1, math.ceil(share))}) for share in shares
        ]
        best = min(product(*choices), key=lambda repeats: _miss(repeats, images, draws, ratio))
    total = sum(n * count for n, count in zip(best, images, strict=True))
    return Solution(best, total, math.ceil(total / per_step) * epochs)


def _miss(
    repeats: Sequence[int], images: Sequence[int], draws: float, ratio: Sequence[float]
) -> float:
    """How far from the wish: the total and each share, relative."""
    got = [n * count for n, count in zip(repeats, images, strict=True)]
    wanted = [draws * weight / sum(ratio) for weight in ratio]
    return abs(sum(got) - draws) / draws + sum(
        abs(math.log(g / w)) for g, w in zip(got, wanted, strict=True)
    ) / len(got)


def balanced(images: Sequence[int], repeats: Sequence[int], ratio: Sequence[float]) -> list[int]:
    """Repeats that share out by `ratio` about as many samples as now; asked again, the same."""
    best = list(repeats)
    for _ in range(100):
        draws = sum(n * count for n, count in zip(best, images, strict=True))
        found = solve(images, draws=draws, ratio=ratio, epochs=1, per_step=1).repeats
        if _miss(found, images, draws, ratio) >= _miss(best, images, draws, ratio) - 1e-9:
            break
        best = list(found)
    return best
