"""Every fault of a dataset at once: names and headers, pixels, captions, balance."""

import re
from collections.abc import Callable, Iterator

from lorakit.dataset.check.model import CheckSettings
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import fault, without
from lorakit.errors import Fault, counted

__all__ = ["CheckSettings", "check"]

CLOSE = re.compile(r"\b(?:close[- ]?up|portrait|head ?shot|face|bust)\b", re.IGNORECASE)
BODY = re.compile(
    r"\b(?:(?:full|whole)[- ]?body|full[- ]length|standing|wide shot)\b", re.IGNORECASE
)
FEW = 10


def check(
    facts: DatasetFacts,
    settings: CheckSettings,
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Fault, ...]:
    """Errors first, then warnings, each in the order of the files."""
    from lorakit.dataset.check.captions import caption_faults
    from lorakit.dataset.check.looks import look_at, open_reader, text_faults
    from lorakit.dataset.check.pictures import picture_faults, sources_of

    reader = open_reader() if settings.text else None
    images = [image.path for image in facts.images if not image.frames]
    looks = look_at(facts.root, images, progress=progress)
    sound = [path for path in images if reader and not looks[path].problem]
    found = [
        *facts.faults,
        *picture_faults(facts, looks, settings, sources_of(facts.root, images)),
        *text_faults(reader, sound, progress),
        *flagged_faults(facts),
        *caption_faults(facts, settings),
        *balance_faults(facts),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(without(found, settings.off), key=lambda item: order[item.severity]))


def flagged_faults(facts: DatasetFacts) -> Iterator[Fault]:
    """What a person has said in the review counts as much as what a rule finds."""
    from lorakit.dataset.build.remembered import flagged_in

    flagged = {facts.root / name for name in flagged_in(facts.root)}
    hint = "lorakit dataset drop RECIPE --flagged leaves all such out."
    for path in (image.path for image in facts.images if image.path in flagged):
        yield fault("flagged", path, "is flagged in the review.", hint)


def balance_faults(facts: DatasetFacts) -> Iterator[Fault]:
    subsets = facts.trained
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
