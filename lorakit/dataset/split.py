"""What an epoch draws: repeats from wishes, what is held back, reg images, the sum. Pure."""

import math
import random
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TypeVar

from lorakit.errors import RecipeError, counted

T = TypeVar("T")

MOST = 10_000  # repeats; more is a mistake in the wishes
EXACT_UP_TO = 10  # subsets whose roundings are all tried


def hold_out(
    images: Sequence[T], share: float, seed: int, *, as_kohya: bool = False
) -> tuple[list[T], list[T]]:
    """Training and validation part of one folder. Kohya rounds both: an image may be in both."""
    if share <= 0 or not images:
        return list(images), []
    shuffled = list(images)
    random.Random(seed).shuffle(shuffled)
    kept = math.ceil(len(images) * (1 - share))
    start = len(images) - round(len(images) * share) if as_kohya else kept
    return shuffled[:kept], shuffled[start:]


def match_reg(repeats: Sequence[int], wanted: int) -> list[int]:
    """Repeats for `wanted` samples an epoch: in order until enough, then one more in turn."""
    used: list[int] = []
    for one in repeats:
        if sum(used) >= wanted:
            break
        used.append(one)
    missing = wanted - sum(used)
    if used and missing > 0:
        each, rest = divmod(missing, len(used))
        used = [one + each + (place < rest) for place, one in enumerate(used)]
    return used + [0] * (len(repeats) - len(used))


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


def samples_sentence(terms: Iterable[tuple[int, int]], *, reg: int = 0, total: int) -> str:
    """`terms`: repeats and images of each folder. "40 x 70 + 20 x 30 = 3400 samples"."""
    summed = " + ".join(f"{repeats} x {count}" for repeats, count in terms) or "0"
    return f"{summed}{f' + {reg} regularisation' if reg else ''} = {counted(total, 'sample')}"


def epochs_sentence(samples: str, divisions: Sequence[str], epochs: int, steps: int) -> str:
    """One line to check with a pencil: samples of an epoch, what divides them, x epochs = steps."""
    run = f"x {counted(epochs, 'epoch')} = {counted(steps, 'step')}"
    return ", ".join([samples, *divisions, run])


def steps_sentence(terms: Sequence[tuple[int, int]], epochs: int, per_step: int) -> str:
    """The same before buckets are known, which round batches up."""
    total = sum(repeats * count for repeats, count in terms)
    steps = math.ceil(total / per_step)
    divisions = [f"/ {per_step} = {counted(steps, 'step')}"] if per_step > 1 else []
    return epochs_sentence(samples_sentence(terms, total=total), divisions, epochs, steps * epochs)
