"""Rules about pixels: what decoding found, what the buckets will do, and which pictures are the
same.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from lorakit.dataset.buckets import BucketRules, Chooser, Placement, UnfitError, check
from lorakit.dataset.check.looks import Look
from lorakit.dataset.check.wants import Wants
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault
from lorakit.files import sha256

EXTENSIONS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp"}
BLURRED = 25.0  # variance of the Laplacian at the working size
FLAT = 0.12  # luminance between the 5th and the 95th percentile
PREPARE = "lorakit dataset prepare does that."


def picture_faults(
    facts: DatasetFacts, looks: Mapping[Path, Look], wants: Wants
) -> Iterator[Fault]:
    images = [image for subset in facts.subsets for image in subset.images]
    for image in images:
        yield from _one(image, looks[image.path], wants)
    yield from _greys(images, looks)
    yield from _sizes(images, wants)
    yield from _duplicates(images, looks, wants.near_bits)


def _one(image: ImageFacts, look: Look, wants: Wants) -> Iterator[Fault]:
    path = image.path
    if look.problem:
        rule, what = (
            ("bomb", f"{look.problem}.")
            if look.bomb
            else ("undecodable", f"cannot be decoded: {look.problem}.")
        )
        yield fault(rule, path, what, "Replace or remove it.")
        return
    expected = EXTENSIONS[path.suffix.lower()]
    if look.kind != expected and not {look.kind, expected} <= {"jpeg", "mpo"}:
        rename = (
            f"Rename it to {shown(path.stem)}.{look.kind}, or convert"
            if look.kind in EXTENSIONS.values()
            else "Convert"
        )
        yield fault(
            "extension-content", path, f"is {look.kind.upper()} inside.", f"{rename} it: {PREPARE}"
        )
    if look.sideways:
        yield fault(
            "rotated",
            path,
            f"has EXIF orientation {look.orientation}, which kohya ignores.",
            f"Turn the pixels: {PREPARE}",
        )
    if look.transparent:
        yield fault(
            "transparent", path, "has transparent pixels.", f"Flatten it on a colour: {PREPARE}"
        )
    if look.animated:
        yield fault("animated", path, "is an animation.", "Keep the one picture you want.")
    if look.mode in {"CMYK", "YCCK", "LAB", "HSV"} or look.bits > 8:
        kind = "16-bit or more" if look.bits > 8 else look.mode
        yield fault("colours", path, f"is {kind}.", f"Convert it to 8-bit sRGB: {PREPARE}")
    if look.profile:
        what = (
            "its colour profile cannot be read."
            if look.profile == "corrupt"
            else f'its colour profile is "{look.profile}", not sRGB.'
        )
        yield fault("icc", path, what, f"Convert it: {PREPARE}")
    if look.odd_exif:
        yield fault("exif", path, "its EXIF data cannot be read.", f"Strip it: {PREPARE}")
    yield from _quality(path, look, wants)


def _quality(path: Path, look: Look, wants: Wants) -> Iterator[Fault]:
    if look.border and not wants.letterboxed:
        yield fault("border", path, f"a plain band along: {look.border}.", "Crop it.")
    if look.contrast < FLAT:
        yield fault("flat", path, f"its contrast is {look.contrast:.0%} of the full range.")
    elif look.sharpness < BLURRED:
        yield fault(
            "blurry",
            path,
            f"its sharpness is {look.sharpness:.0f}; a crisp photo has 100 and more.",
        )
    if look.brightness > 0.93 or look.brightness < 0.07:
        yield fault("exposure", path, f"its mean brightness is {look.brightness:.0%}.")


def _greys(images: list[ImageFacts], looks: Mapping[Path, Look]) -> Iterator[Fault]:
    """Grey is a fault only among coloured pictures."""
    grey = [image.path for image in images if looks[image.path].grey]
    if 0 < len(grey) <= len(images) / 2:
        for path in grey:
            yield fault("grey", path, "has no colour, unlike most of the others.")


def _sizes(images: list[ImageFacts], wants: Wants) -> Iterator[Fault]:
    rules = wants.buckets
    step = rules.step if rules else 64
    small = {image.path for image in images if min(image.width, image.height) < step}
    for image in images:
        if image.path in small:
            yield fault(
                "too-small",
                image.path,
                f"is {image.width}x{image.height}; both sides must have at least {step} pixels.",
                "Replace or remove it.",
            )
        elif wants.exact_size and rules and (image.width, image.height) != rules.resolution:
            yield fault(
                "unfit",
                image.path,
                f"is {image.width}x{image.height}, not"
                f" {rules.resolution[0]}x{rules.resolution[1]}.",
                "Set enable_bucket = true, or: lorakit dataset prepare --fit letterbox",
            )
    fine = [image for image in images if image.path not in small]
    if rules and not check(rules):
        yield from _placements(fine, rules, wants)
    yield from _aspects(fine)


def _placements(images: list[ImageFacts], rules: BucketRules, wants: Wants) -> Iterator[Fault]:
    chooser = Chooser(rules)
    for image in images:
        try:
            placement = chooser.choose(image.width, image.height)
        except UnfitError as error:
            yield fault("too-small", image.path, f"{error}.", "Replace or remove it.")
            continue
        bucket = f"{placement.bucket[0]}x{placement.bucket[1]}"
        if placement.scale(image.width) > 1.05:
            yield fault(
                "enlarged",
                image.path,
                f"is {image.width}x{image.height} and is enlarged"
                f" {placement.scale(image.width):.2f} times for its bucket {bucket}.",
                "Use a larger original, a lower resolution, or bucket_no_upscale = true.",
            )
        if placement.cropped > wants.crop_limit:
            yield fault(
                "cropped",
                image.path,
                f"loses {placement.cropped:.0%} ({lost_part(placement)}) in its bucket {bucket}.",
                "Crop it yourself, or widen min_bucket_reso / max_bucket_reso.",
            )


def lost_part(placement: Placement) -> str:
    """Which edges the centre crop takes, and how much of each."""
    wide, high = (placement.scaled[i] - placement.bucket[i] for i in (0, 1))
    parts = [f"{wide / placement.scaled[0] / 2:.0%} left and right"] if wide > 0 else []
    parts += [f"{high / placement.scaled[1] / 2:.0%} top and bottom"] if high > 0 else []
    return ", ".join(parts) or "nothing"


def _aspects(images: list[ImageFacts]) -> Iterator[Fault]:
    if len(images) < 4:
        return
    ratios = {image.path: math.log(image.width / image.height) for image in images}
    middle = statistics.median(ratios.values())
    for image in images:
        if abs(ratios[image.path] - middle) > math.log(2.2):
            yield fault(
                "aspect",
                image.path,
                f"is {image.width}x{image.height}; most others are about {math.exp(middle):.2f}"
                " : 1.",
            )


def _duplicates(
    images: list[ImageFacts], looks: Mapping[Path, Look], near_bits: int
) -> Iterator[Fault]:
    from lorakit.dataset.check.measures import near_pairs

    same: dict[Path, Path] = {}
    sizes: dict[int, list[Path]] = defaultdict(list)
    for image in images:
        sizes[image.size_bytes].append(image.path)
    for group in sizes.values():
        firsts: dict[str, Path] = {}
        for path in group if len(group) > 1 else ():
            first = firsts.setdefault(sha256(path), path)
            if first != path:
                same[path] = first
                yield fault(
                    "duplicate", path, f"is the same file as {_beside(path, first)}.", "Remove one."
                )
    seen = [
        image.path
        for image in images
        if image.path not in same and looks[image.path].contrast >= FLAT
    ]  # flat ones are all alike
    for i, j, distance in near_pairs([looks[path].dhash for path in seen], within=near_bits):
        yield fault(
            "near-duplicate",
            seen[j],
            f"hardly differs from {_beside(seen[j], seen[i])} ({distance} of 64 bits).",
            "Keep the better one.",
        )


def _beside(path: Path, other: Path) -> str:
    return shown(
        other.name if other.parent == path.parent else Path(other.parent.name) / other.name
    )
