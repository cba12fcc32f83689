"""Which images a step sees. Epochs are exact permutations, and all follows from (seed, epoch), so
any step can be resumed.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from lorakit.embedded.data.captions import process
from lorakit.embedded.data.dataset import Dataset, Image


@dataclass(frozen=True)
class Pick:
    """One image used once: which repeat of it, in which epoch. Everything random about it follows
    from that and the seed.
    """

    image: Image
    dataset: int
    index: int  # of the image in its dataset
    repeat: int
    epoch: int  # from 1

    def chance(self, seed: int, purpose: str) -> random.Random:
        place = f"{self.epoch}/{self.dataset}/{self.index}/{self.repeat}"
        return random.Random(f"{seed}/{purpose}/{place}")

    def flipped(self, seed: int) -> bool:
        return self.image.subset.flip_aug and self.chance(seed, "flip").random() < 0.5

    def caption(self, seed: int, *, step: int, total_steps: int) -> str:
        image, chance = self.image, self.chance(seed, "caption")
        now = {"epoch": self.epoch, "step": step, "total_steps": total_steps}
        return process(image.caption, image.subset, chance, **now)


Batch = tuple[Pick, ...]


def epoch_batches(datasets: Sequence[Dataset], seed: int, epoch: int) -> list[Batch]:
    """All batches of an epoch over all processes, shuffled: within the buckets, then the batches
    among each other.
    """
    chance = random.Random(f"{seed}/order/{epoch}")
    batches: list[Batch] = []
    for number, dataset in enumerate(datasets):
        for indices in dataset.buckets.values():
            seen: dict[int, int] = {}
            draws = []
            for index in indices:
                seen[index] = seen.get(index, -1) + 1
                draws.append(Pick(dataset.images[index], number, index, seen[index], epoch))
            chance.shuffle(draws)
            batches += _cut(draws, dataset.batch_size)
    chance.shuffle(batches)
    return batches


def share(batches: list[Batch], rank: int, world: int) -> list[Batch]:
    """What one of several processes sees: every world-th batch, padded from the start so that all
    see equally many.
    """
    count = math.ceil(len(batches) / world)
    return [batches[(at * world + rank) % len(batches)] for at in range(count)]


def validation_batches(datasets: Sequence[Dataset]) -> list[Batch]:
    """Held-out images in a fixed order, nothing shuffled."""
    batches: list[Batch] = []
    for number, dataset in enumerate(datasets):
        buckets: dict[tuple[int, int], list[Pick]] = {}
        for index, image in enumerate(dataset.validation):
            draw = Pick(image, number, len(dataset.images) + index, 0, 1)
            buckets.setdefault(image.bucket, []).append(draw)
        for _, draws in sorted(buckets.items()):
            batches += _cut(draws, dataset.batch_size)
    return batches


def _cut(draws: Sequence[Pick], size: int) -> list[Batch]:
    return [tuple(draws[at : at + size]) for at in range(0, len(draws), size)]
