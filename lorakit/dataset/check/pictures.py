"""Rules about pixels: what decoding found, what buckets will do, which are the same."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit.dataset.buckets import BucketRules, Chooser, Placement, UnfitError, check
from lorakit.dataset.build.manifest import MadeFile, Manifest
from lorakit.dataset.check.looks import look_at
from lorakit.dataset.check.model import CheckSettings, Look
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault, counted
from lorakit.files import sha256

EXTENSIONS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp"}
BLURRED = 25.0  # variance of the Laplacian at the working size
FLAT = 0.12  # luminance between the 5th and the 95th percentile
ROOM = 0.97  # of the canvas: less, and there are bars to see
PREPARE = "it: lorakit dataset prepare does that."


@dataclass(frozen=True)
class SourcePicture:
    made: MadeFile
    look: Look

    @property
    def filled(self) -> float:
        """The share of the canvas that shows the photo."""
        (wide, high), canvas = self.made.scaled, self.made.canvas
        return wide * high / (canvas[0] * canvas[1])


def sources_of(root: Path, images: Iterable[Path]) -> dict[Path, SourcePicture]:
    """Of every picture that is as prepare made it and whose photo is still there."""
    manifest = Manifest(root)
    made = {root / entry.file: entry for entry in manifest.entries.values()}
    ours = {path: made[path] for path in images if path in made and not manifest.edited(made[path])}
    photos = {path: root / entry.source for path, entry in ours.items()}
    there = {photo for photo in photos.values() if photo.is_file()}
    looks = look_at(root / "originals", sorted(there))
    found = ((path, looks.get(photos[path])) for path in ours)
    return {
        path: SourcePicture(ours[path], look) for path, look in found if look and not look.problem
    }


def picture_faults(
    facts: DatasetFacts,
    looks: Mapping[Path, Look],
    settings: CheckSettings,
    sources: Mapping[Path, SourcePicture],
) -> Iterator[Fault]:
    """`sources`: the photos behind the pictures, which say more about what is in them."""
    images = [image for image in facts.images if not image.frames]  # no films
    shown_in = {
        path: sources[path].look if path in sources else look for path, look in looks.items()
    }
    for image in images:
        yield from _one(image.path, looks[image.path])
        yield from _seen(image.path, shown_in[image.path], "its original" * (image.path in sources))
    yield from _greys(images, looks)
    yield from _sizes(images, settings)
    yield from _duplicates(images, shown_in, settings.near_bits)
    yield from _bars(facts.root, sources)


def _one(path: Path, look: Look) -> Iterator[Fault]:
    if look.problem:
        rule, how = ("bomb", "") if look.bomb else ("undecodable", "cannot be decoded: ")
        yield fault(rule, path, f"{how}{look.problem}.", "Replace or remove it.")
        return
    kind, expected = look.kind, EXTENSIONS[path.suffix.lower()]
    if kind != expected and not {kind, expected} <= {"jpeg", "mpo"}:
        rename = f"Rename it to {shown(path.stem)}.{kind}, or convert"
        rename = rename if kind in EXTENSIONS.values() else "Convert"
        yield fault("extension-content", path, f"is {kind.upper()} inside.", f"{rename} {PREPARE}")
    if look.orientation != 1:
        what = f"has EXIF orientation {look.orientation}, which kohya ignores."
        yield fault("rotated", path, what, f"Turn {PREPARE}")
    if look.transparent:
        yield fault("transparent", path, "has transparent pixels.", f"Flatten {PREPARE}")
    if look.animated:
        yield fault("animated", path, "is an animation.", "Keep the one picture you want.")
    if look.mode in {"CMYK", "YCCK", "LAB", "HSV"} or look.bits > 8:
        what = f"is {'16-bit or more' if look.bits > 8 else look.mode}."
        yield fault("colours", path, what, f"Convert {PREPARE}")
    if look.profile:
        corrupt = look.profile == "corrupt"
        what = "cannot be read." if corrupt else f'is "{look.profile}", not sRGB.'
        yield fault("icc", path, f"its colour profile {what}", f"Convert {PREPARE}")
    if look.odd_exif:
        yield fault("exif", path, "its EXIF data cannot be read.", f"Strip {PREPARE}")


def _seen(path: Path, look: Look, whose: str) -> Iterator[Fault]:
    """What is to be said about a photo, however it was fitted."""
    if look.problem:
        return
    whose = f"{whose}'s" if whose else "its"
    if look.border:
        yield fault("border", path, f"a plain band along: {look.border}.", "Crop it.")
    if look.contrast < FLAT:
        yield fault("flat", path, f"{whose} contrast is {look.contrast:.0%} of the full range.")
    elif look.sharpness < BLURRED:
        what = f"{whose} sharpness is {look.sharpness:.0f}; a crisp photo has 100 and more."
        yield fault("blurry", path, what)
    if look.brightness > 0.93 or look.brightness < 0.07:
        yield fault("exposure", path, f"{whose} mean brightness is {look.brightness:.0%}.")


def _greys(images: list[ImageFacts], looks: Mapping[Path, Look]) -> Iterator[Fault]:
    """Grey is a fault only among coloured pictures."""
    grey = [image.path for image in images if looks[image.path].grey]
    if 0 < len(grey) <= len(images) / 2:
        for path in grey:
            yield fault("grey", path, "has no colour, unlike most of the others.")


def _sizes(images: list[ImageFacts], settings: CheckSettings) -> Iterator[Fault]:
    rules = settings.buckets
    step = rules.step if rules else 64
    small = {image.path for image in images if min(image.width, image.height) < step}
    for image in images:
        size, path = f"is {image.width}x{image.height}", image.path
        if path in small:
            what = f"{size}; both sides must have at least {step} pixels."
            yield fault("too-small", path, what, "Replace or remove it.")
        elif settings.exact_size and rules and (image.width, image.height) != rules.resolution:
            what = f"{size}, not {rules.resolution[0]}x{rules.resolution[1]}."
            hint = "Set enable_bucket = true, or: lorakit dataset prepare --fit letterbox"
            yield fault("unfit", path, what, hint)
    fine = [image for image in images if image.path not in small]
    if rules and not check(rules):
        yield from _placements(fine, rules, settings)
    yield from _aspects(fine)


def _placements(
    images: list[ImageFacts], rules: BucketRules, settings: CheckSettings
) -> Iterator[Fault]:
    chooser = Chooser(rules)
    for image in images:
        path = image.path
        try:
            placement = chooser.choose(image.width, image.height)
        except UnfitError as error:
            yield fault("too-small", path, f"{error}.", "Replace or remove it.")
            continue
        bucket = f"its bucket {placement.bucket[0]}x{placement.bucket[1]}."
        scale = placement.scale(image.width)
        if scale > 1.05:
            what = f"is {image.width}x{image.height} and enlarged {scale:.2f} times for {bucket}"
            hint = "Use a larger original, a lower resolution, or bucket_no_upscale = true."
            yield fault("enlarged", path, what, hint)
        if placement.cropped > settings.crop_limit:
            what = f"loses {placement.cropped:.0%} ({lost_part(placement)}) in {bucket}"
            hint = "Crop it yourself, or widen min_bucket_reso / max_bucket_reso."
            yield fault("cropped", path, what, hint)


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
            others = f"most others are about {math.exp(middle):.2f} : 1."
            yield fault("aspect", image.path, f"is {image.width}x{image.height}; {others}")


def _duplicates(
    images: list[ImageFacts], looks: Mapping[Path, Look], near_bits: int
) -> Iterator[Fault]:
    from lorakit.dataset.check.measures import near_pairs

    same: set[Path] = set()
    sizes: dict[int, list[Path]] = defaultdict(list)
    for image in images:
        sizes[image.size_bytes].append(image.path)
    for group in sizes.values():
        firsts: dict[str, Path] = {}
        for path in group if len(group) > 1 else ():
            first = firsts.setdefault(sha256(path), path)
            if first != path:
                same.add(path)
                what = f"is the same file as {_beside(path, first)}."
                found = fault("duplicate", path, what, "Remove one.")
                yield replace(found, twin=shown(first))
    others = [image.path for image in images if image.path not in same]
    seen = [path for path in others if looks[path].contrast >= FLAT]  # flat ones are all alike
    for i, j, distance in near_pairs([looks[path].dhash for path in seen], within=near_bits):
        what = f"hardly differs from {_beside(seen[j], seen[i])} ({distance} of 64 bits)."
        found = fault("near-duplicate", seen[j], what, "Keep the better one.")
        yield replace(found, twin=shown(seen[i]))


def _beside(path: Path, other: Path) -> str:
    near = other.parent == path.parent
    return shown(other.name if near else Path(other.parent.name) / other.name)


def _bars(root: Path, sources: Mapping[Path, SourcePicture]) -> Iterator[Fault]:
    """Bars, and photos too small for their canvas."""
    barred = [source.filled for source in sources.values() if source.filled < ROOM]
    if barred:
        share = 1 - sum(barred) / len(barred)
        some = f"{len(barred)} of {counted(len(sources), 'picture')}"
        what = f"{some} have bars, {share:.0%} of their area on average, which are learned, too."
        yield fault("bars", root, what, "lorakit dataset prepare RECIPE --fit bucket makes none.")
    for path, source in sources.items():
        sides = zip(source.made.scaled, source.made.canvas, strict=True)
        size, canvas = ("{}x{}".format(*pair) for pair in (source.made.size, source.made.canvas))
        if all(side < 0.95 * room for side, room in sides):
            what = f"its original has {size}, and fills {source.filled:.0%} of {canvas}."
            yield fault("small-original", path, what, "Use a larger one.")
