"""Rules about the set: how many pictures, each subset's share of the steps, near and far shots."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import fault
from lorakit.errors import Fault, counted

CLOSE = re.compile(r"\b(?:close[- ]?up|portrait|head ?shot|face|bust)\b", re.IGNORECASE)
BODY = re.compile(
    r"\b(?:(?:full|whole)[- ]?body|full[- ]length|standing|wide shot)\b", re.IGNORECASE
)
FEW = 10


def balance_faults(facts: DatasetFacts) -> Iterator[Fault]:
    subsets = [subset for subset in facts.subsets if not subset.is_reg]
    samples = {subset.path: subset.repeats * len(subset.images) for subset in subsets}
    total = sum(samples.values())
    for subset in subsets if len(subsets) > 1 else ():
        count = samples[subset.path]
        share = count / total
        if share > 0.92 or share < 0.04:
            product = f"{subset.repeats} x {len(subset.images)} = {count}"
            what = f"{product} of {total} samples per epoch ({share:.0%})."
            hint = "Change its repeats: lorakit dataset layout RECIPE --ratio SUBSET=4 OTHER=1"
            yield fault("share", subset.path, what, hint)
    captions = [image.caption for subset in subsets for image in subset.images if image.caption]
    close = sum(bool(CLOSE.search(text)) for text in captions)
    body = sum(bool(BODY.search(text)) and not CLOSE.search(text) for text in captions)
    if close + body >= 8 and max(close, body) > 0.9 * (close + body):
        what = f"{close} captions speak of close-ups, {body} of full bodies."
        hint = "For a complete character about 70 % body and 30 % face is usual."
        yield fault("shots", facts.root, what, hint)
    if 0 < facts.image_count < FEW:
        what = f"{counted(facts.image_count, 'picture')}; use at least 10 to 15, better 20 to 30."
        yield fault("few-images", facts.root, what)
