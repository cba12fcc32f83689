"""A dataset in numbers: counts, sizes, tags, token lengths, shares, buckets. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lorakit.dataset.buckets import Chooser
from lorakit.dataset.captions.edit import parts
from lorakit.dataset.captions.tokens import LIMIT, count_tokens
from lorakit.dataset.facts import DatasetFacts, SubsetFacts


@dataclass(frozen=True)
class SubsetStats:
    name: str
    images: int
    repeats: int
    captions: int
    share: float  # of everything drawn in an epoch
    bytes: int
    short_side: tuple[int, int, int]  # smallest, median, largest
    tokens: tuple[int, int, int]


@dataclass(frozen=True)
class Stats:
    subsets: tuple[SubsetStats, ...]
    tags: tuple[tuple[str, int, tuple[int, ...]], ...]  # tag, captions that hold it, per subset
    too_long: int  # captions of more than 75 tokens
    buckets: tuple[tuple[tuple[int, int], int], ...]  # size, images


def stats_of(facts: DatasetFacts, chooser: Chooser | None = None, *, tags: int = 30) -> Stats:
    captions = {
        subset.path: [image.caption for image in subset.images if image.caption_path]
        for subset in facts.subsets
    }
    draws = sum(len(subset.images) * subset.repeats for subset in facts.trained)
    lengths = {
        path: [count_tokens(text) for text in texts if text] for path, texts in captions.items()
    }
    per_subset = [
        Counter(tag for text in captions[subset.path] for tag in set(parts(text)))
        for subset in facts.subsets
    ]
    total: Counter[str] = sum(per_subset, Counter())
    common = sorted(total.items(), key=lambda item: (-item[1], item[0]))[: tags or None]
    return Stats(
        subsets=tuple(_subset(subset, lengths[subset.path], draws) for subset in facts.subsets),
        tags=tuple(
            (tag, count, tuple(found[tag] for found in per_subset)) for tag, count in common
        ),
        too_long=sum(length > LIMIT for found in lengths.values() for length in found),
        buckets=_buckets(facts, chooser) if chooser else (),
    )


def _subset(subset: SubsetFacts, lengths: Sequence[int], draws: int) -> SubsetStats:
    drawn = len(subset.images) * subset.repeats
    return SubsetStats(
        name=subset.path.name + (" (reg)" if subset.is_reg else ""),
        images=len(subset.images),
        repeats=subset.repeats,
        captions=subset.captioned,
        share=0.0 if subset.is_reg or not draws else drawn / draws,
        bytes=sum(image.size_bytes for image in subset.images),
        short_side=_spread([min(image.width, image.height) for image in subset.images]),
        tokens=_spread(lengths),
    )


def _buckets(facts: DatasetFacts, chooser: Chooser) -> tuple[tuple[tuple[int, int], int], ...]:
    places = (chooser.place(image.width, image.height) for image in facts.images)
    found = Counter(place.bucket for place in places if place)  # `check` names the others
    return tuple(sorted(found.items()))


def _spread(values: Sequence[int]) -> tuple[int, int, int]:
    return (min(values), round(median(values)), max(values)) if values else (0, 0, 0)
