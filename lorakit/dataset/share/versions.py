"""Two versions of a dataset, compared by content."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lorakit.dataset.captions.read import read_words
from lorakit.dataset.facts import DatasetFacts
from lorakit.files import sha256


@dataclass(frozen=True)
class Version:
    """Names are `class tokens/file`, so that other repeats alone change no name."""

    images: Mapping[str, str]  # sha256
    captions: Mapping[str, str]  # "" where there is none
    repeats: Mapping[str, int]  # by class tokens


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
    images, captions = {}, {}
    repeats: Counter[str] = Counter()
    for subset in facts.subsets:
        key = ("reg " if subset.is_reg else "") + (subset.class_tokens or subset.path.name)
        repeats[key] += subset.repeats
        for image in subset.images:
            own = image.caption_path if not subset.metadata else None
            words = own and read_words(own)
            name = f"{key}/{image.path.name}"
            captions[name] = (
                words.text.strip() if words else image.caption if subset.metadata else ""
            )
            images[name] = sha256(image.path)
    return Version(images, captions, repeats)


def compare(before: Version, after: Version) -> VersionDifference:
    gone = [name for name in before.images if name not in after.images]
    come = [name for name in after.images if name not in before.images]
    waiting: dict[str, list[str]] = {}
    for name in come:
        waiting.setdefault(after.images[name], []).append(name)
    same = ((name, waiting.get(before.images[name])) for name in gone)
    renamed = [(name, names.pop(0)) for name, names in same if names]
    pairs = [(name, name) for name in before.images if name in after.images] + renamed
    moved = {name for pair in renamed for name in pair}
    now, was = after.captions, before.captions
    counts = [
        (key, before.repeats.get(key, 0), after.repeats.get(key, 0))
        for key in sorted({*before.repeats, *after.repeats})
    ]
    return VersionDifference(
        added=tuple(name for name in come if name not in moved),
        removed=tuple(name for name in gone if name not in moved),
        renamed=tuple(renamed),
        changed=tuple(old for old, new in pairs if before.images[old] != after.images[new]),
        recaptioned=tuple((new, was[old], now[new]) for old, new in pairs if was[old] != now[new]),
        repeats=tuple(count for count in counts if count[1] != count[2]),
    )
