"""Two versions of a dataset, compared by content: what came, what went, what was renamed,
recaptioned or changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lorakit.dataset.captions.read import read_words
from lorakit.dataset.facts import DatasetFacts
from lorakit.files import sha256


@dataclass(frozen=True)
class Item:
    """One trained image: where it is, what it shows, what is said about it."""

    name: str  # subset/file, forward slashes
    image: str  # sha256
    caption: str  # "" where there is none


@dataclass(frozen=True)
class Version:
    items: Mapping[str, Item]
    repeats: Mapping[str, int]  # per subset folder


@dataclass(frozen=True)
class VersionDifference:
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()  # same name, other picture
    recaptioned: tuple[tuple[str, str, str], ...] = ()  # name, before, after
    # class tokens, before, after; 0 where there is no such subset
    repeats: tuple[tuple[str, int, int], ...] = ()

    def __bool__(self) -> bool:
        return self != VersionDifference()


def version_of(facts: DatasetFacts) -> Version:
    """Hash every image and read every caption: as slow as the disk."""
    items = {}
    repeats: dict[str, int] = {}
    for subset in facts.subsets:
        key = ("reg " if subset.is_reg else "") + (subset.class_tokens or subset.path.name)
        repeats[key] = repeats.get(key, 0) + subset.repeats
        for image in subset.images:
            own = image.caption_path if not subset.metadata else None
            words = own and read_words(own)
            caption = words.text.strip() if words else image.caption if subset.metadata else ""
            name = f"{key}/{image.path.name}"
            items[name] = Item(name, sha256(image.path), caption)
    return Version(items, repeats)


def compare(before: Version, after: Version) -> VersionDifference:
    """Names are `class tokens/file`, so that a change of repeats alone is not forty removals and
    forty additions.
    """
    gone = {name: item for name, item in before.items.items() if name not in after.items}
    come = {name: item for name, item in after.items.items() if name not in before.items}
    waiting: dict[str, list[str]] = {}
    for name, item in come.items():
        waiting.setdefault(item.image, []).append(name)
    renamed = [
        (name, waiting[item.image].pop(0)) for name, item in gone.items() if waiting.get(item.image)
    ]
    pairs = [(name, name) for name in before.items if name in after.items] + renamed
    moved_from, moved_to = {old for old, _ in renamed}, {new for _, new in renamed}
    return VersionDifference(
        added=tuple(name for name in come if name not in moved_to),
        removed=tuple(name for name in gone if name not in moved_from),
        renamed=tuple(renamed),
        changed=tuple(
            old for old, new in pairs if before.items[old].image != after.items[new].image
        ),
        recaptioned=tuple(
            (new, before.items[old].caption, after.items[new].caption)
            for old, new in pairs
            if before.items[old].caption != after.items[new].caption
        ),
        repeats=tuple(
            (key, before.repeats.get(key, 0), after.repeats.get(key, 0))
            for key in sorted({*before.repeats, *after.repeats})
            if before.repeats.get(key, 0) != after.repeats.get(key, 0)
        ),
    )
