"""Repeats from wishes: samples in an epoch, and subsets weighed against each other. Pure."""

import math
from collections.abc import Sequence
from itertools import product

from lorakit.errors import RecipeError

MOST = 10_000  # repeats; more is a mistake in the wishes
EXACT_UP_TO = 10  # subsets whose roundings are all tried


def solve(images: Sequence[int], draws: float, ratio: Sequence[float]) -> tuple[int, ...]:
    """Integer repeats, at least 1, for about `draws` samples per epoch, shared out by `ratio`."""
    shares = [draws * part / sum(ratio) / count for part, count in zip(ratio, images, strict=True)]
    if max(shares) > MOST:
        hint = "Ask for fewer steps, more epochs, or add images."
        raise RecipeError(f"that would take {max(shares):,.0f} repeats.", hint=hint)
    if len(shares) > EXACT_UP_TO:
        return tuple(max(1, round(share)) for share in shares)
    choices = [sorted({max(1, math.floor(share)), max(1, math.ceil(share))}) for share in shares]
    return min(product(*choices), key=lambda repeats: _miss(repeats, images, draws, ratio))


def _miss(
    repeats: Sequence[int], images: Sequence[int], draws: float, ratio: Sequence[float]
) -> float:
    """How far from the wish: the total and each share, relative."""
    got = [n * count for n, count in zip(repeats, images, strict=True)]
    wanted = [draws * weight / sum(ratio) for weight in ratio]
    shares = sum(abs(math.log(g / w)) for g, w in zip(got, wanted, strict=True)) / len(got)
    return abs(sum(got) - draws) / draws + shares


def balanced(
    images: Sequence[int], repeats: Sequence[int], ratio: Sequence[float]
) -> tuple[int, ...]:
    """Repeats that share out by `ratio` about as many samples as now; asked again, the same."""
    best = tuple(repeats)
    for _ in range(100):
        draws = sum(n * count for n, count in zip(best, images, strict=True))
        found = solve(images, draws, ratio)
        if _miss(found, images, draws, ratio) >= _miss(best, images, draws, ratio) - 1e-9:
            break
        best = found
    return best
