"""Rules about the whole: how many pictures, which share of the steps each subset has, near and far
shots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lorakit.dataset.check.wants import Wants
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import fault
from lorakit.errors import Fault

CLOSE = re.compile(r"\b(?:close[- ]?up|portrait|head ?shot|face|bust)\b", re.IGNORECASE)
BODY = re.compile(
    r"\b(?:full[- ]?body|whole body|full[- ]length|standing|wide shot)\b", re.IGNORECASE
)
FEW = 10


def balance_faults(facts: DatasetFacts, wants: Wants) -> Iterator[Fault]:
    del wants  # every rule has the same shape
    subsets = [subset for subset in facts.subsets if not subset.is_reg]
    draws = {subset.path: subset.repeats * len(subset.images) for subset in subsets}
    total = sum(draws.values())
    for subset in subsets if len(subsets) > 1 else ():
        share = draws[subset.path] / total
        sum_text = (
            f"{subset.repeats} x {len(subset.images)} = {draws[subset.path]} of {total} draws"
            f" ({share:.0%})"
        )
        if share > 0.92 or share < 0.04:
            yield fault(
                "share",
                subset.path,
                f"{sum_text}.",
                "Change its repeats: lorakit dataset layout --ratio.",
            )
    captions = [image.caption for subset in subsets for image in subset.images if image.caption]
    close = sum(bool(CLOSE.search(text)) for text in captions)
    body = sum(bool(BODY.search(text)) and not CLOSE.search(text) for text in captions)
    if close + body >= 8 and max(close, body) > 0.9 * (close + body):
        yield fault(
            "shots",
            facts.root,
            f"{close} captions speak of close-ups, {body} of full bodies.",
            "For a whole character about 70 % body and 30 % face is usual.",
        )
    if 0 < facts.image_count < FEW:
        yield fault(
            "few-images",
            facts.root,
            f"{facts.image_count} pictures; 10 to 15 are the least, 20 to 30 are good.",
        )
