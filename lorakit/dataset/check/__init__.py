"""Every fault of a dataset at once: names and headers (scan), pixels, captions, balance. Changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from lorakit.dataset.check.settings import CheckSettings
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import fault, without
from lorakit.errors import Fault

__all__ = ["CheckSettings", "check"]


def check(
    facts: DatasetFacts,
    settings: CheckSettings,
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Fault, ...]:
    """Errors first, then warnings, each in the order of the files."""
    from lorakit.dataset.check.balance import balance_faults
    from lorakit.dataset.check.captions import caption_faults
    from lorakit.dataset.check.looks import look_at
    from lorakit.dataset.check.pictures import picture_faults
    from lorakit.dataset.check.sources import bar_faults, sources_of

    images = [image.path for subset in facts.subsets for image in subset.images]
    looks = look_at(facts.root, images, progress=progress)
    sources = sources_of(facts.root, images)
    found = [
        *facts.faults,
        *picture_faults(facts, looks, settings, sources),
        *bar_faults(facts.root, sources),
        *flagged_faults(facts),
        *caption_faults(facts, settings),
        *balance_faults(facts),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(without(found, settings.off), key=lambda item: order[item.severity]))


def flagged_faults(facts: DatasetFacts) -> list[Fault]:
    """What a person has said in the review counts as much as what a rule finds."""
    from lorakit.dataset.review.session import read_marks

    marks = read_marks(facts.root)
    names = (image.path for subset in facts.subsets for image in subset.images)
    hint = "lorakit dataset drop RECIPE --flagged leaves all such out."
    return [
        fault("flagged", path, "is flagged in the review.", hint)
        for path in names
        if path.is_relative_to(facts.root)
        and marks.get(path.relative_to(facts.root).as_posix()) == "flagged"
    ]
