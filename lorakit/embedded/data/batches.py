"""Which images a step sees, and under which captions: kohya's order of operations. Epochs are exact
permutations, and all follows from (seed, epoch), so any step can be resumed.
"""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lorakit.embedded.data.dataset import Dataset, Image
from lorakit.embedded.data.dataset_config import Subset


@dataclass(frozen=True)
class Pick:
    """One image used once. Everything random about it follows from this and the seed."""

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
    """Of all processes, shuffled: within the buckets, then the batches among each other."""
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
    """What one process sees: every world-th, padded from the start so that all see equally many."""
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


def process(
    caption: str, rules: Subset, chance: random.Random, *, epoch: int, step: int, total_steps: int
) -> str:
    """`epoch` counts from 1. Dropping the whole caption drops prefix and suffix with it."""
    if rules.caption_prefix:
        caption = f"{rules.caption_prefix} {caption}"
    if rules.caption_suffix:
        caption = f"{caption} {rules.caption_suffix}"
    dropped = rules.caption_dropout_rate > 0 and chance.random() < rules.caption_dropout_rate
    if dropped or (
        rules.caption_dropout_every_n_epochs > 0
        and epoch % rules.caption_dropout_every_n_epochs == 0
    ):
        return ""
    caption = _wildcards(caption, chance) if rules.enable_wildcard else caption.split("\n")[0]
    if rules.varies:
        caption = _shuffled(caption, rules, chance, step=step, total_steps=total_steps)
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator)
    return caption


def _wildcards(caption: str, chance: random.Random) -> str:
    """One line of several; {a|b} becomes a or b; {{ and }} stand for braces."""
    if "\n" in caption:
        caption = chance.choice(caption.split("\n"))
    opened, closed = "\ue000", "\ue001"  # private use: no caption holds them
    caption = caption.replace("{{", opened).replace("}}", closed)
    caption = re.sub(r"\{([^}]+)\}", lambda found: chance.choice(found[1].split("|")), caption)
    return caption.replace(opened, "{").replace(closed, "}")


def _shuffled(
    caption: str, rules: Subset, chance: random.Random, *, step: int, total_steps: int
) -> str:
    def tags(text: str) -> list[str]:
        return [tag.strip() for tag in text.split(rules.caption_separator) if tag.strip()]

    first: list[str] = []
    last: list[str] = []
    mark = rules.keep_tokens_separator
    if mark and mark in caption:
        head, _, rest = caption.partition(mark)
        middle, _, tail = rest.partition(mark)
        first, free, last = tags(head), tags(middle), tags(tail)
    else:
        every = [tag.strip() for tag in caption.strip().split(rules.caption_separator)]
        first, free = every[: rules.keep_tokens], every[rules.keep_tokens :]
    warmup, least = rules.token_warmup_step, rules.token_warmup_min
    if warmup < 1:
        warmup = math.floor(warmup * total_steps)
    if warmup and step < warmup:
        free = free[: math.floor(step * (len(free) - least) / warmup) + least]
    if rules.shuffle_caption:
        chance.shuffle(free)
    if rules.caption_tag_dropout_rate > 0:
        free = [tag for tag in free if chance.random() >= rules.caption_tag_dropout_rate]
    return ", ".join([*first, *free, *last])  # always a comma, whatever the separator: kohya's way
