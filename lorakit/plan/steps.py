"""The arithmetic of a run, as the training script will do it.

Every image is put into its bucket as many times as it
repeats; a bucket makes ceil(samples / batch size) batches, so the last batch of each may be short.
Regularisation images join in folder order until they are as many as the training samples; if there
are too few, each gets one repeat more in turn. Batches are dealt to the processes evenly (the last
round is filled up), and every `gradient_accumulation_steps` of them make one step; an epoch's rest
makes one too. Several resolutions are several datasets: each has its own buckets; and
where a trainer keeps folders apart, so has each folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lorakit.dataset.buckets import Chooser, UnfitError, check
from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.dataset.split import epochs_sentence, hold_out, match_reg, samples_sentence
from lorakit.errors import Fault, counted
from lorakit.plan.model import Bucket, Steps
from lorakit.plan.saves import MAX_STEPS, checkpoints, sample_steps
from lorakit.recipe.options import Options
from lorakit.trainers.table import trainer


@dataclass(frozen=True)
class Draw:
    image: ImageFacts
    repeats: int  # in an epoch


@dataclass(frozen=True)
class Split:
    """The images of the run: for training, for regularisation, and what validation takes away."""

    train: tuple[Draw, ...]
    reg: tuple[Draw, ...]
    # images x repeats before they are matched to the training samples: what the script prints
    reg_images: int
    validation: tuple[ImageFacts, ...]
    leaked: int  # images that kohya's rounding puts into both parts
    terms: tuple[tuple[int, int], ...]  # (repeats, images) of each training subset


def count_steps(options: Options, facts: DatasetFacts) -> tuple[Steps, list[Fault]]:
    """All the numbers the script will print, and what is wrong with them."""
    faults: list[Fault] = []
    split = split_images(options, facts)
    if split.leaked:
        both = f"puts {counted(split.leaked, 'image')} into training and validation"
        what = f"{both} (kohya's rounding)."
        faults.append(options.fault("validation_split", what, "", "validation-overlap", "warning"))
    buckets, misfits = fill_buckets((*split.train, *split.reg), options)
    steps = _counted(options, split, buckets)
    return steps, [*faults, *misfits, *_length_faults(options, steps)]


def split_images(options: Options, facts: DatasetFacts) -> Split:
    share = options.number("validation_split")
    share = share if 0.0 <= share <= 1.0 else 0.0  # the trainers' rules refuse it outside
    seed = options.maybe_integer("validation_seed")
    seed = options.seed if seed is None else seed
    train, reg = list[Draw](), list[Draw]()
    validation: list[ImageFacts] = []
    leaked, terms = 0, []
    overlaps = trainer(options.resolved.trainer).SPLIT_OVERLAPS
    for subset in facts.subsets:
        images = sorted(subset.images, key=lambda image: str(image.path))
        repeats = repeats_of(options, subset)
        if subset.is_reg:
            reg += [Draw(image, repeats) for image in images if repeats >= 1]
            continue
        kept, held = hold_out(images, share, seed, as_kohya=overlaps)
        leaked += len({image.path for image in kept} & {image.path for image in held})
        if repeats >= 1 and kept:
            train += [Draw(image, repeats) for image in kept]
            terms.append((repeats, len(kept)))
        validation += held if repeats >= 1 else ()
    matched = match_reg([one.repeats for one in reg], sum(one.repeats for one in train))
    used = tuple(Draw(one.image, n) for one, n in zip(reg, matched, strict=True) if n)
    reg_images = sum(one.repeats for one in reg)
    return Split(tuple(train), used, reg_images, tuple(validation), leaked, tuple(terms))


def repeats_of(options: Options, subset: SubsetFacts) -> int:
    repeats: int = options.subset(subset.path.name).get("num_repeats", subset.repeats)
    return repeats


def fill_buckets(draws: Iterable[Draw], options: Options) -> tuple[tuple[Bucket, ...], list[Fault]]:
    """Buckets with something in them, in the order of their sizes, for each resolution anew."""
    draws, buckets, faults = list(draws), list[Bucket](), list[Fault]()
    separate = trainer(options.resolved.trainer).SEPARATE_FOLDERS
    for rules in map(options.bucket_rules_at, options.resolutions):
        if problems := check(rules):
            return (), [
                options.fault(problem.split(" ")[0], f"{problem}.", "", "bucket-bounds")
                for problem in problems
            ]
        filled, misfits = _filled(draws, Chooser(rules), separate=separate)
        buckets += (_bucket(key[0], filled[key], options.batch_size) for key in sorted(filled))
        faults += misfits
    return tuple(buckets), faults


def _filled(
    draws: Iterable[Draw], chooser: Chooser, *, separate: bool
) -> tuple[dict[tuple[tuple[int, int], str], list[Draw]], list[Fault]]:
    filled: dict[tuple[tuple[int, int], str], list[Draw]] = {}
    faults: list[Fault] = []
    for draw in draws:
        where, hint = str(draw.image.path), "Enlarge it or leave it out."
        try:
            size = chooser.choose(draw.image.width, draw.image.height).bucket
            folder = str(draw.image.path.parent) if separate else ""
            filled.setdefault((size, folder), []).append(draw)
        except (UnfitError, ZeroDivisionError) as error:
            faults.append(Fault(where, f"{error}.", hint, "image-too-small"))
    return filled, faults


def _bucket(size: tuple[int, int], members: list[Draw], batch_size: int) -> Bucket:
    count = sum(draw.repeats for draw in members)
    images = tuple(draw.image for draw in members)
    return Bucket(*size, images, count, math.ceil(count / batch_size))


def _counted(options: Options, split: Split, buckets: tuple[Bucket, ...]) -> Steps:
    batches = sum(bucket.batches for bucket in buckets)
    mine = math.ceil(batches / options.processes)
    per_epoch = math.ceil(mine / options.accumulation)
    asked_epochs = options.maybe_integer("max_train_epochs")
    total = options.integer("max_train_steps") if asked_epochs is None else asked_epochs * per_epoch
    total = max(0, total) if per_epoch else 0
    epochs = math.ceil(total / per_epoch) if per_epoch else 0
    datasets = len(options.resolutions)
    steps = Steps(
        buckets=buckets,
        train_images=datasets * sum(draw.repeats for draw in split.train),
        reg_images=datasets * split.reg_images,
        validation_images=datasets * len(split.validation),
        batches=batches,
        batches_per_process=mine,
        batch_size=options.batch_size,
        processes=options.processes,
        accumulation=options.accumulation,
        epochs=epochs,
        steps_per_epoch=per_epoch,
        total=total,
        checkpoints=checkpoints(options, total, epochs, per_epoch),
        sample_steps=sample_steps(options, total, epochs, per_epoch),
        formula="",
    )
    return replace(steps, formula=_formula(options, split, steps))


def _formula(options: Options, split: Split, steps: Steps) -> str:
    per_epoch, epochs, total = steps.steps_per_epoch, steps.epochs, steps.total
    count = sum(bucket.draws for bucket in steps.buckets)
    reg = sum(draw.repeats for draw in split.reg)
    datasets = len(options.resolutions)
    samples = samples_sentence(split.terms, reg=reg, total=count // datasets)
    samples += f", x {datasets} resolutions = {count}" if datasets > 1 else ""
    divisions = [f"/ {options.batch_size} = {steps.batches} batches"]
    if steps.batches != math.ceil(count / options.batch_size):
        divisions[0] += f" ({counted(len(steps.buckets), 'bucket')}, each rounded up)"
    if options.processes > 1:
        divisions.append(f"/ {options.processes} processes = {steps.batches_per_process}")
    if options.accumulation > 1:
        divisions.append(f"/ {options.accumulation} accumulated = {counted(per_epoch, 'step')}")
    if options.is_set("max_train_epochs"):
        return epochs_sentence(samples, divisions, epochs, total)
    cut = total - (epochs - 1) * per_epoch
    last = f", the last one {cut} of {counted(per_epoch, 'step')}" if 0 < cut < per_epoch else ""
    line = ", ".join([samples, *divisions])
    return f"{line}; {counted(total, 'step')} = {counted(epochs, 'epoch')}{last}"


def _length_faults(options: Options, steps: Steps) -> list[Fault]:
    key = "max_train_epochs" if options.is_set("max_train_epochs") else "max_train_steps"
    if not options.is_set(key):
        many = counted(steps.total, "step")
        what = f"unset, and so is max_train_epochs: the script would do {many}."
        return [options.fault(key, what, "Set one of them.", "steps-unset")]
    warmup = options.value("lr_warmup_steps") or 0
    # The schedule makes a step for every process.
    warmup = warmup * steps.total if isinstance(warmup, float) else warmup / steps.processes
    free = options.text("optimizer_type").lower().endswith("schedulefree")
    if 0 < steps.total <= warmup and not free:
        what = f"the warm-up takes all {steps.total} steps, so the rate never gets to its height."
        hint = f"Write lr_warmup_steps = {steps.total // 10}."
        return [options.fault("lr_warmup_steps", what, hint, "warmup-whole-run", "warning")]
    if steps.total > MAX_STEPS:
        what = f"comes to {steps.total:,} steps; no run ever takes that long."
        return [options.fault(key, what, "", "count-endless")]
    return []
