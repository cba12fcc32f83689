"""Rules about what captions say: trigger, sameness, structure, length, stolen words."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lorakit.dataset.captions.edit import GROUPS, parts
from lorakit.dataset.check.model import CheckSettings
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault

FACE = re.compile(
    r"\b(?:(?:\w+[- ])?(?:eyes|eyebrows|eyelashes|nose|lips|cheeks|cheekbones|jaw|jawline|chin"
    r"|forehead|freckles|dimples|wrinkles|mole)"
    r"|(?:pale|fair|tan|tanned|dark|olive|light|smooth) (?:skin|complexion)"
    r"|(?:round|oval|square|heart-shaped|narrow|thin) face)\b",
    re.IGNORECASE,
)
LOOKS = re.compile(
    r"\b(?:closed|open|looking|half-closed|shut|wide)[- ]?(?:eyes|mouth|lips)\b"
    r"|\beyes (?:closed|open)\b",
    re.IGNORECASE,
)
THEIR_TRIGGER = "[trigger]"  # in captions for ai-toolkit, which fills it in
TRIGGER_FIRST = "lorakit dataset caption RECIPE --trigger-first --write"


def caption_faults(facts: DatasetFacts, settings: CheckSettings) -> Iterator[Fault]:
    trained = (image for subset in facts.trained for image in subset.images)
    images = [image for image in trained if image.caption_path and image.caption]
    trigger = settings.trigger or common_first(images)
    if trigger:
        yield from _common_word(facts, trigger)
        yield from _trigger(images, trigger)
    yield from _same(images)
    yield from _structure(images)
    if settings.token_limit:
        yield from _tokens(images, settings.token_limit)
    yield from _face(images)
    yield from _bleed(facts, images, trigger)


def common_first(images: Sequence[ImageFacts]) -> str:
    """The part that most captions begin with: most likely the trigger when no recipe says it."""
    firsts = Counter(parts(image.caption)[0] for image in images if parts(image.caption))
    part, count = firsts.most_common(1)[0] if firsts else ("", 0)
    return part if count >= 3 and count > len(images) / 2 and len(part.split()) <= 3 else ""


def _common_word(facts: DatasetFacts, trigger: str) -> Iterator[Fault]:
    from lorakit.dataset.captions.tokens import common_word

    if common_word(trigger):
        what = f'the trigger "{trigger}" is one token that CLIP knows as a word.'
        hint = f"Take one that it does not know, such as {trigger}_char or ohwx_{trigger}."
        yield fault("trigger-common", facts.root, what, hint)


def _trigger(images: Sequence[ImageFacts], trigger: str) -> Iterator[Fault]:
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    for image in images:
        found = word.search(image.caption)
        if found is None:
            what, hint = f'does not say "{trigger}".', TRIGGER_FIRST
            if THEIR_TRIGGER in image.caption:
                edit = f"RECIPE --replace '{THEIR_TRIGGER}={trigger}' --write"
                hint = f"Only ai-toolkit fills that in: lorakit dataset caption {edit}"
            yield fault("trigger-missing", _where(image), what, hint)
        elif found.start() != 0:
            what = f'"{trigger}" is not the first word.'
            yield fault("trigger-late", _where(image), what, TRIGGER_FIRST)


def _same(images: Sequence[ImageFacts]) -> Iterator[Fault]:
    """Identical, or of the same words but one; linear in the number of captions."""
    hint = "Say what differs."
    groups: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        groups[image.caption.casefold()].append(image)
    for first, *others in groups.values():
        what = f"is word for word that of {shown(first.path.name)}."
        for other in others:
            if other.caption_path != first.caption_path:
                yield fault("caption-same", _where(other), what, hint)
    nearly: dict[frozenset[str], ImageFacts] = {}
    for image, *_ in groups.values():
        words = frozenset(re.findall(r"\w+", image.caption.casefold()))
        if len(words) < 5:
            continue
        keys = [words, *(words - {word} for word in words)]
        like = next((nearly[key] for key in keys if key in nearly), None)
        if like is not None:
            what = f"differs from that of {shown(like.path.name)} in one word at most."
            yield fault("caption-alike", _where(image), what, hint)
        for key in keys:
            nearly.setdefault(key, image)


def _structure(images: Sequence[ImageFacts]) -> Iterator[Fault]:
    if len(images) < 4:
        return
    kinds = {image.path: _kind(image.caption) for image in images}
    counts = Counter(kinds.values())
    usual = "tags" if counts["tags"] >= counts["sentences"] else "sentences"
    middle = statistics.median(len(image.caption.split()) for image in images)
    for image in images:
        kind, length = kinds[image.path], len(image.caption.split())
        if kind not in {usual, ""}:
            what, hint = f"is written as {kind}, most others as {usual}.", "Write it like them."
            yield fault("caption-structure", _where(image), what, hint)
        elif length > 4 * middle or 4 * length < middle:
            what = f"has {length} words, the median one {middle:.0f}."
            yield fault("caption-structure", _where(image), what, "Bring it nearer to the others.")


def _kind(caption: str) -> str:
    """Tags or sentences; nothing where it is too short to say."""
    pieces = parts(caption)
    words = len(caption.split())
    if len(pieces) >= 3 and words / len(pieces) <= 4:
        return "tags"
    return "sentences" if words >= 8 and words / max(1, len(pieces)) > 6 else ""


def _tokens(images: Sequence[ImageFacts], limit: int) -> Iterator[Fault]:
    from lorakit.dataset.captions.tokens import count_tokens

    for image in images:
        # a token is at least one character
        count = count_tokens(image.caption) if len(image.caption) > limit else 0
        if count > limit:
            what = f"has {count} tokens; {count - limit} are cut off after the {limit}th."
            hint = "Shorten it, or raise max_token_length (150 or 225)."
            yield fault("caption-tokens", _where(image), what, hint)


def _face(images: Sequence[ImageFacts]) -> Iterator[Fault]:
    for image in images:
        found = [match[0] for match in FACE.finditer(LOOKS.sub("", image.caption))]
        if len(found) >= 2:
            what = f"describes the face: {', '.join(found[:4])}."
            yield fault("face-described", _where(image), what, "Leave that to the trigger.")


def _bleed(facts: DatasetFacts, images: Sequence[ImageFacts], trigger: str) -> Iterator[Fault]:
    if len(images) < 5:
        return
    counts = Counter(part.casefold() for image in images for part in set(parts(image.caption)))
    for part, count in counts.most_common(20):
        kind = next((name for name in ("clothing", "setting") if GROUPS[name].search(part)), "")
        if kind and count > 0.8 * len(images) and part != trigger.casefold():
            what = f'"{part}" is in {count} of {len(images)} captions.'
            hint = f"Add pictures where the {kind} differs, or it becomes part of the trigger."
            yield fault("bleed", facts.root, what, hint)


def _where(image: ImageFacts) -> str:
    return shown(image.caption_path or image.path)
