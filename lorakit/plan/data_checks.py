"""What only shows when images meet settings: crops, no buckets, latents of another size."""

import ast
from collections.abc import Iterator
from pathlib import Path

from lorakit.dataset.buckets import Chooser, Placement, check
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.dataset.films import WAN_RATE
from lorakit.errors import Fault, counted, did_you_mean
from lorakit.plan.model import Steps
from lorakit.plan.steps import repeats_of
from lorakit.recipe.options import Options
from lorakit.recipe.schema import CONTROLS, FILMS
from lorakit.trainers.table import trainer

MUCH_ENLARGED = 1.5
SHOWN = 3  # so many examples are named
Placed = list[tuple[ImageFacts, Placement]]
DATASET, METADATA = "dataset", "metadata"
NOT_DESCRIBED = {"class_tokens", "caption_extension", "cache_info", "conditioning_data_dir"}


def data_faults(options: Options, facts: DatasetFacts, steps: Steps) -> Iterator[Fault]:
    yield from _unknown_subsets(options, facts)
    yield from _metadata(options, facts)
    yield from _masks(options, facts)
    yield from _films(options, facts)
    root, rules = str(facts.root), options.bucket_rules
    said = any(fault.severity == "error" for fault in facts.faults)
    if not check(rules):
        if not steps.batches and not said:
            what = (
                "no image is left to train on; the script would end with exit code 0 and no LoRA."
            )
            yield Fault(root, what, "", "nothing-to-train")
        chooser = Chooser(rules)
        places = ((one, chooser.place(one.width, one.height)) for one in facts.images)
        # an image without a place is a fault of count_steps
        placed = [(image, place) for image, place in places if place]
        yield from _crops(options, root, placed)
        if not rules.enable:
            yield from _unbucketed(options, root, placed)
        suffix = trainer(options.resolved.trainer).UNCHECKED_LATENTS.get(options.family)
        if suffix and options.flag("cache_latents_to_disk"):
            if len(options.resolutions) > 1:
                what = f"keeps one *{suffix} file for an image, whatever its resolution: the"
                what = f"{what} second would be trained with the latents of the first."
                hint = "Set it to false; cache_latents = true keeps them in memory."
                yield options.fault("cache_latents_to_disk", what, hint, "cache-resolutions")
            else:
                yield from _stale_latents(suffix, placed)
    used = len({image.path for bucket in steps.buckets for image in bucket.images})
    used += steps.validation_images // len(options.resolutions)
    images = sum(len(one.images) for one in facts.subsets if repeats_of(options, one) >= 1)
    if steps.reg_images > steps.train_images and used < images:
        spare = counted(images - used, "regularisation image")
        what = f"{spare} never used: there are more of them than training samples."
        yield Fault(root, what, "", "reg-unused", "note")


def _unknown_subsets(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    setting = options.resolved.dataset.get("subset")
    folders = [subset.path.name for subset in facts.subsets]
    for name in options.subsets if setting and folders else ():
        if setting and name not in folders:
            where = f"{setting.source} [dataset.subset.{name}]"
            hint = did_you_mean(name, folders) or f"There are {', '.join(folders)}."
            yield Fault(where, "the dataset has no such folder.", hint, "subset-unknown")


def _metadata(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    """The fine-tuning method is all or nothing for a dataset, and knows fewer options."""
    described = [one for one in facts.subsets if one.metadata]
    if not described:
        return
    others = [one.path.name for one in facts.subsets if not one.metadata]
    if others:
        what = f"stands beside folders without one: {', '.join(others)}. The script mixes no kinds."
        yield options.fault("subset", what, "Give each a metadata_file.", METADATA, section=DATASET)
    if options.number("validation_split") > 0:
        what = "the script would validate with the very images of the metadata that it trains on."
        yield options.fault("validation_split", what, "Remove it.", METADATA)
    for one in described:
        for key in sorted(NOT_DESCRIBED & options.subset(one.path.name).keys()):
            where = f"{options.where('subset', DATASET)}.{one.path.name} {key}"
            what = "does not go with metadata_file: the script stops."
            yield Fault(where, what, "Remove it.", METADATA, section=DATASET, key="subset")


def _masks(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    for subset in facts.subsets:
        folder = options.subset(subset.path.name).get("conditioning_data_dir")
        place = options.resolved.root / str(folder)
        masks = {path.stem for path in place.iterdir()} if folder and place.is_dir() else set()
        if lacking := [one for one in subset.images if folder and one.path.stem not in masks]:
            what = f"holds no mask for {_these(lacking)}."
            yield Fault(str(place), what, "A mask has its picture's name and size.", "mask-missing")


def _films(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    """Each folder's films against what is said of them."""
    about = options.about
    taken = {*(FILMS if about.films else ()), *(CONTROLS if about.controls else ())}
    said = {*options.resolved.dataset}.union(*options.subsets.values())
    for key in sorted(({*FILMS, *CONTROLS} - taken) & said):
        what = f"{options.family} is not trained on such data."
        yield options.fault(key, what, "Take it out.", "not-such-data", section=DATASET)
    for subset in facts.trained:
        rules = options.film_rules(subset.path)
        films = [image for image in subset.images if image.frames]
        problem = rules.problem() if films else ("", "")
        if problem[0]:
            yield options.fault("target_frames", *problem, "film-frames", section=DATASET)
        for film in films:
            if not rules.pieces(film.frames) and rules.target_frames:
                what = f"has {film.frames} frames; the shortest piece has {rules.target_frames[0]}"
                what += f" at {WAN_RATE:g} a second: it would be left out."
                hint = "Take a longer film, or a smaller target_frames."
                yield Fault(str(film.path), what, hint, "film-short")
            read_as = rules.source_fps or WAN_RATE
            if abs(film.fps - read_as) > 0.5:
                what = f"has {film.fps:g} frames a second and is read as if it had {read_as:g}."
                hint = f"Write source_fps = {film.fps:.2f}, in [dataset.subset] where films differ."
                yield Fault(str(film.path), what, hint, "film-rate", "warning")


def _crops(options: Options, root: str, placed: Placed) -> Iterator[Fault]:
    limit = options.crop_limit
    lost = [image for image, placement in placed if placement.cropped > limit]
    if lost and options.flag("enable_bucket"):
        what = f"the centre crop takes more than {limit:.0%} of the picture from {_these(lost)}."
        hint = "Crop them yourself, or raise max_bucket_reso."
        yield Fault(root, what, hint, "much-cropped", "warning")
    small = [image for image, placement in placed if placement.scale(image.width) > MUCH_ENLARGED]
    if small:
        what = f"enlarging by more than half blurs {_these(small)}, and the LoRA learns the blur."
        hint = "Use larger originals, or bucket_no_upscale = true."
        yield Fault(root, what, hint, "much-enlarged", "warning")


def _unbucketed(options: Options, root: str, placed: Placed) -> Iterator[Fault]:
    other = [image for image, at in placed if (image.width, image.height) != at.bucket]
    size = "{}x{}".format(*options.resolution)
    if other and options.caches_latents:
        what = f"without buckets what is not {size} is centre-cropped silently: {_these(other)}."
        yield Fault(root, what, "Set enable_bucket = true.", "unbucketed-crop", "warning")
    elif other and not options.flag("random_crop"):
        what = f"without buckets the script stops at what is not {size}: {_these(other)}."
        hint = "Set enable_bucket = true, or `lorakit dataset prepare`."
        yield Fault(root, what, hint, "unbucketed-size")


def _stale_latents(suffix: str, placed: Placed) -> Iterator[Fault]:
    """The script never compares them with the bucket: other ones would be trained on silently."""
    stale = []
    for image, placement in placed:
        name = f"{image.path.stem}_{image.width:04d}x{image.height:04d}{suffix}"
        cache = image.path.with_name(name)
        if cache.exists():
            shape = latent_shape(cache)
            if shape is None or shape[-2:] != (placement.bucket[1] // 8, placement.bucket[0] // 8):
                stale.append(cache)
    if stale:
        caches = f"{counted(len(stale), 'latent cache')} for another size than this run's buckets"
        what = f"{caches}, or broken; the script would train on them silently."
        hint = f"Remove the *{suffix} files beside the images."
        yield Fault(str(stale[0]), what, hint, "cache-bucket")


def latent_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of `latents` in a .npz, from its header alone; None where it cannot be read."""
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            name = next(one for one in names if one[:7] == "latents" and one.endswith(".npy"))
            with archive.open(name) as file:
                start = file.read(10)
                length = int.from_bytes(start[8:10], "little")
                shape = ast.literal_eval(file.read(length).decode("latin-1").strip())["shape"]
    except (OSError, BadZipFile, StopIteration, ValueError, KeyError, SyntaxError, TypeError):
        return None
    return tuple(int(side) for side in shape)


def _these(images: list[ImageFacts]) -> str:
    names = ", ".join(image.path.name for image in images[:SHOWN])
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    return f"{counted(len(images), 'image')} ({names}{more})"
