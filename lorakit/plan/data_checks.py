"""What only shows when images meet settings: crops, buckets switched off, latents cached for
another size.
"""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lorakit.dataset.buckets import Chooser, Placement, UnfitError, check
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.errors import Fault, counted, did_you_mean
from lorakit.plan.model import Steps
from lorakit.plan.steps import repeats_of
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.trainers.table import trainer

MUCH_CROPPED = 0.25  # a quarter of the picture lost
MUCH_ENLARGED = 1.5
SHOWN = 3  # so many examples are named


def data_faults(resolved: Resolved, facts: DatasetFacts, steps: Steps) -> Iterator[Fault]:
    yield from _unknown_subsets(resolved, facts)
    rules = read.bucket_rules(resolved)
    said = any(fault.severity == "error" for fault in facts.faults)
    if not check(rules):
        if not steps.batches and not said:
            yield Fault(
                str(facts.root),
                "no image is left to train on; the script would end with exit code 0 and no LoRA.",
                "",
                "nothing-to-train",
            )
        placed = list(_placed(facts, Chooser(rules)))
        yield from _crops(facts, placed, enabled=rules.enable)
        if not rules.enable:
            yield from _unbucketed(resolved, facts, placed)
        suffix = trainer(resolved.trainer).UNCHECKED_LATENTS.get(resolved.family)
        if suffix and read.flag(resolved, "cache_latents_to_disk"):
            yield from _stale_latents(suffix, placed)
    used = sum(1 for bucket in steps.buckets for _ in bucket.images)
    images = sum(
        len(subset.images) for subset in facts.subsets if repeats_of(resolved, subset) >= 1
    )
    if steps.reg_images > steps.train_images and used + steps.validation_images < images:
        spare = images - used - steps.validation_images
        what = (
            f"{counted(spare, 'regularisation image')} never used: there are more of them than"
            " training draws."
        )
        yield Fault(str(facts.root), what, "", "reg-unused", "note")


def _unknown_subsets(resolved: Resolved, facts: DatasetFacts) -> Iterator[Fault]:
    setting = resolved.dataset.get("subset")
    folders = [subset.path.name for subset in facts.subsets]
    if setting is None or not folders:
        return
    for name in setting.value:
        if name not in folders:
            yield Fault(
                f"{setting.source} [dataset.subset.{name}]",
                "the dataset has no such folder.",
                did_you_mean(name, folders) or f"There are {', '.join(folders)}.",
                "subset-unknown",
            )


def _placed(facts: DatasetFacts, chooser: Chooser) -> Iterator[tuple[ImageFacts, Placement]]:
    for subset in facts.subsets:
        for image in subset.images:
            try:
                yield image, chooser.choose(image.width, image.height)
            except (UnfitError, ZeroDivisionError):
                continue  # counted as a fault by count_steps


def _crops(
    facts: DatasetFacts, placed: list[tuple[ImageFacts, Placement]], *, enabled: bool
) -> Iterator[Fault]:
    lost = [image for image, placement in placed if placement.cropped > MUCH_CROPPED]
    if lost and enabled:
        yield Fault(
            str(facts.root),
            f"the centre crop takes more than a quarter of the picture from {_these(lost)}.",
            "Crop them yourself, or raise max_bucket_reso.",
            "much-cropped",
            "warning",
        )
    small = [image for image, placement in placed if placement.scale(image.width) > MUCH_ENLARGED]
    if small:
        yield Fault(
            str(facts.root),
            f"enlarging by more than half blurs {_these(small)}, and the LoRA learns the blur.",
            "Use larger originals, or bucket_no_upscale = true.",
            "much-enlarged",
            "warning",
        )


def _unbucketed(
    resolved: Resolved, facts: DatasetFacts, placed: list[tuple[ImageFacts, Placement]]
) -> Iterator[Fault]:
    other = [
        image for image, placement in placed if (image.width, image.height) != placement.bucket
    ]
    if not other:
        return
    width, height = read.resolution(resolved)
    cached = read.flag(resolved, "cache_latents") or read.flag(resolved, "cache_latents_to_disk")
    if cached:
        yield Fault(
            str(facts.root),
            f"without buckets what is not {width}x{height} is centre-cropped silently:"
            f" {_these(other)}.",
            "Set enable_bucket = true.",
            "unbucketed-crop",
            "warning",
        )
    elif not read.flag(resolved, "random_crop"):
        yield Fault(
            str(facts.root),
            f"without buckets the script stops at what is not {width}x{height}: {_these(other)}.",
            "Set enable_bucket = true, or `lorakit dataset prepare`.",
            "unbucketed-size",
        )


def _stale_latents(suffix: str, placed: list[tuple[ImageFacts, Placement]]) -> Iterator[Fault]:
    """The script never compares these caches with the bucket: one from another resolution would be
    trained on silently.
    """
    stale = []
    for image, placement in placed:
        cache = image.path.with_name(
            f"{image.path.stem}_{image.width:04d}x{image.height:04d}{suffix}"
        )
        if cache.exists():
            shape = latent_shape(cache)
            if shape is None or shape[-2:] != (placement.bucket[1] // 8, placement.bucket[0] // 8):
                stale.append(cache)
    if stale:
        yield Fault(
            str(stale[0]),
            f"{counted(len(stale), 'latent cache')} for another size than this run's buckets, or"
            " broken; the script would train on them without a word.",
            f"Remove the *{suffix} files beside the images.",
            "cache-bucket",
        )


def latent_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of `latents` in a .npz, read from its header alone; None where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(
                name
                for name in archive.namelist()
                if name.startswith("latents") and name.endswith(".npy")
            )
            with archive.open(name) as file:
                start = file.read(10)
                length = int.from_bytes(start[8:10], "little")
                shape = ast.literal_eval(file.read(length).decode("latin-1").strip())["shape"]
    except (
        OSError,
        zipfile.BadZipFile,
        StopIteration,
        ValueError,
        KeyError,
        SyntaxError,
        TypeError,
    ):
        return None
    return tuple(int(side) for side in shape)


def _these(images: list[ImageFacts]) -> str:
    names = ", ".join(image.path.name for image in images[:SHOWN])
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    return f"{counted(len(images), 'image')} ({names}{more})"
