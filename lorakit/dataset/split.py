"""What is held back for validation, how often reg images are drawn, and the sum of it. Pure."""

import math
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from lorakit.errors import counted

T = TypeVar("T")


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
