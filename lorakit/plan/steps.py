"""The arithmetic of a run, as the training script will do it: batches, steps, epochs, what is
saved and sampled when.

The script's algorithm, in our words. Every image is put into its bucket as many times as it
repeats; a bucket makes ceil(draws / batch size) batches, so the last batch of each may be short.
Regularisation images join in folder order until they are as many as the training draws; if there
are too few, each gets one repeat more in turn. Batches are dealt to the processes evenly (the last
round is filled up), and every `gradient_accumulation_steps` of them make one step; an epoch's rest
makes one too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError, check
from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.errors import Fault, Severity, counted
from lorakit.plan.model import Bucket, Steps
from lorakit.plan.saves import LONGEST, checkpoints, sample_steps
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved

DEFAULT_STEPS = 1600  # the script's max_train_steps where nothing is said


@dataclass(frozen=True)
class Draw:
    """One image and how often an epoch draws it."""

    image: ImageFacts
    repeats: int


@dataclass(frozen=True)
class Split:
    """The images of the run: training draws, regularisation draws, and what validation takes away."""

    train: tuple[Draw, ...]
    reg: tuple[Draw, ...]
    # images x repeats before they are matched to the training draws: what the script prints
    reg_images: int
    validation: tuple[ImageFacts, ...]
    leaked: int  # images that kohya's rounding puts into both parts
    terms: tuple[tuple[int, int], ...]  # (repeats, images) of each training subset


def count_steps(resolved: Resolved, facts: DatasetFacts) -> tuple[Steps, list[Fault]]:
    """All the numbers the script will print, and what is wrong with them."""
    faults: list[Fault] = []
    split = split_images(resolved, facts)
    if split.leaked:
        what = (
            f"puts {counted(split.leaked, 'image')} into training and validation (kohya's"
            " rounding)."
        )
        faults.append(_fault(resolved, "validation_split", what, "validation-overlap", "warning"))
    rules = read.bucket_rules(resolved)
    buckets, misfits = fill_buckets(
        (*split.train, *split.reg),
        rules,
        max(1, read.whole(resolved, "train_batch_size", 1)),
        resolved,
    )
    faults += misfits
    steps = _counted(resolved, split, buckets)
    return steps, faults + _length_faults(resolved, steps)


def split_images(resolved: Resolved, facts: DatasetFacts) -> Split:
    share = read.number(resolved, "validation_split", 0.0)
    share = share if 0.0 <= share <= 1.0 else 0.0  # outside it is refused; see _length_faults
    seed = read.whole(resolved, "validation_seed", read.whole(resolved, "seed", 0))
    train: list[Draw] = []
    validation: list[ImageFacts] = []
    leaked = 0
    terms = []
    for subset in facts.subsets:
        if subset.is_reg:
            continue
        kept, held = _held_out(_sorted(subset), share, seed)
        leaked += len({image.path for image in kept} & {image.path for image in held})
        repeats = repeats_of(resolved, subset)
        if repeats >= 1 and kept:
            train += [Draw(image, repeats) for image in kept]
            terms.append((repeats, len(kept)))
        validation += held if repeats >= 1 else ()
    reg_sets = [
        (repeats_of(resolved, subset), _sorted(subset)) for subset in facts.subsets if subset.is_reg
    ]
    reg = [Draw(image, repeats) for repeats, images in reg_sets if repeats >= 1 for image in images]
    wanted = sum(draw.repeats for draw in train)
    return Split(
        tuple(train),
        tuple(match_reg(reg, wanted)),
        sum(draw.repeats for draw in reg),
        tuple(validation),
        leaked,
        tuple(terms),
    )


def repeats_of(resolved: Resolved, subset: SubsetFacts) -> int:
    own = read.subset_overrides(resolved, subset.path.name).get("num_repeats")
    return own if isinstance(own, int) and not isinstance(own, bool) else subset.repeats


def match_reg(reg: Sequence[Draw], wanted: int) -> list[Draw]:
    """Regularisation draws equal to `wanted`: images in order until there are enough, then one
    repeat more for each in turn.
    """
    used: list[Draw] = []
    count = 0
    for draw in reg:
        if count >= wanted:
            break
        used.append(draw)
        count += draw.repeats
    if not used or count >= wanted:
        return used
    each, rest = divmod(wanted - count, len(used))
    return [
        Draw(draw.image, draw.repeats + each + (place < rest)) for place, draw in enumerate(used)
    ]


def fill_buckets(
    draws: Iterable[Draw], rules: BucketRules, batch_size: int, resolved: Resolved
) -> tuple[tuple[Bucket, ...], list[Fault]]:
    """Buckets with something in them, in the order of their sizes."""
    problems = check(rules)
    if problems:
        return (), [
            _fault(resolved, problem.split(" ")[0], f"{problem}.", "bucket-bounds")
            for problem in problems
        ]
    chooser = Chooser(rules)
    filled: dict[tuple[int, int], list[Draw]] = {}
    faults = []
    for draw in draws:
        try:
            size = chooser.choose(draw.image.width, draw.image.height).bucket
        except (UnfitError, ZeroDivisionError) as error:
            faults.append(
                Fault(
                    str(draw.image.path),
                    f"{error}.",
                    "Enlarge it or leave it out.",
                    "image-too-small",
                )
            )
            continue
        filled.setdefault(size, []).append(draw)
    return (
        tuple(
            Bucket(
                width,
                height,
                tuple(draw.image for draw in members),
                count := sum(draw.repeats for draw in members),
                math.ceil(count / batch_size),
            )
            for (width, height), members in sorted(filled.items())
        ),
        faults,
    )


def _counted(resolved: Resolved, split: Split, buckets: tuple[Bucket, ...]) -> Steps:
    batch_size = max(1, read.whole(resolved, "train_batch_size", 1))
    accumulation = max(1, read.whole(resolved, "gradient_accumulation_steps", 1))
    processes = max(1, read.launched(resolved, "processes", 1))
    batches = sum(bucket.batches for bucket in buckets)
    mine = math.ceil(batches / processes)
    per_epoch = math.ceil(mine / accumulation)
    asked_epochs = read.maybe_whole(resolved, "max_train_epochs")
    total = read.whole(resolved, "max_train_steps", DEFAULT_STEPS)
    if asked_epochs is not None:
        total = asked_epochs * math.ceil(batches / processes / accumulation)
    total = max(0, total) if per_epoch else 0
    epochs = math.ceil(total / per_epoch) if per_epoch else 0
    return Steps(
        buckets=buckets,
        train_images=sum(draw.repeats for draw in split.train),
        reg_images=split.reg_images,
        validation_images=len(split.validation),
        batches=batches,
        batches_per_process=mine,
        batch_size=batch_size,
        processes=processes,
        accumulation=accumulation,
        epochs=epochs,
        steps_per_epoch=per_epoch,
        total=total,
        checkpoints=checkpoints(resolved, total, epochs, per_epoch),
        sample_steps=sample_steps(resolved, total, epochs, per_epoch),
        formula=_formula(resolved, split, buckets, (batches, mine, per_epoch, epochs, total)),
    )


def _formula(
    resolved: Resolved,
    split: Split,
    buckets: tuple[Bucket, ...],
    counts: tuple[int, int, int, int, int],
) -> str:
    """One line a person can check with a pencil."""
    batches, mine, per_epoch, epochs, total = counts
    batch_size = max(1, read.whole(resolved, "train_batch_size", 1))
    accumulation = max(1, read.whole(resolved, "gradient_accumulation_steps", 1))
    processes = max(1, read.launched(resolved, "processes", 1))
    terms = " + ".join(f"{repeats} x {count}" for repeats, count in split.terms) or "0"
    reg = sum(draw.repeats for draw in split.reg)
    draws = sum(bucket.draws for bucket in buckets)
    line = (
        f"{terms}{f' + {reg} regularisation' if reg else ''} = {counted(draws, 'draw')}, /"
        f" {batch_size} = {batches} batches"
    )
    if batches != math.ceil(draws / batch_size):
        line += f" ({counted(len(buckets), 'bucket')}, each rounded up)"
    if processes > 1:
        line += f", / {processes} processes = {mine}"
    if accumulation > 1:
        line += f", / {accumulation} accumulated = {counted(per_epoch, 'step')}"
    if read.maybe_whole(resolved, "max_train_epochs") is not None:
        return f"{line}, x {counted(epochs, 'epoch')} = {counted(total, 'step')}"
    cut = total - (epochs - 1) * per_epoch
    last = f", the last one {cut} of {counted(per_epoch, 'step')}" if 0 < cut < per_epoch else ""
    return f"{line}; {counted(total, 'step')} = {counted(epochs, 'epoch')}{last}"


def _length_faults(resolved: Resolved, steps: Steps) -> list[Fault]:
    """The same words as the trainers' own rules, so that each is told once; here for whoever
    counts without them.
    """
    faults = []
    share = read.number(resolved, "validation_split", 0.0)
    if not 0.0 <= share < 1.0:
        faults.append(
            _fault(
                resolved,
                "validation_split",
                f"{share:g}: must be at least 0 and below 1, or training loses its images.",
                "validation-share",
            )
        )
    epochs, limit = (
        read.maybe_whole(resolved, "max_train_epochs"),
        read.maybe_whole(resolved, "max_train_steps"),
    )
    if epochs is None and limit is None:
        faults.append(
            _fault(
                resolved,
                "max_train_steps",
                f"unset, and so is max_train_epochs: the script would do {steps.total} steps.",
                "steps-unset",
            )
        )
    for key, value in (("max_train_epochs", epochs), ("max_train_steps", limit)):
        if value is not None and value < 1:
            faults.append(
                _fault(
                    resolved,
                    key,
                    f"{value}: an untouched LoRA would be saved as if it were trained.",
                    "count-positive",
                )
            )
    if steps.total > LONGEST:
        key = "max_train_steps" if epochs is None else "max_train_epochs"
        faults.append(
            _fault(
                resolved,
                key,
                f"comes to {steps.total:,} steps; nobody has that long.",
                "count-endless",
            )
        )
    return faults


def _held_out(
    images: list[ImageFacts], share: float, seed: int
) -> tuple[list[ImageFacts], list[ImageFacts]]:
    """Training and validation part of one folder. The two are cut with different roundings, as the
    script cuts them.
    """
    if share <= 0.0 or not images:
        return images, []
    shuffled = list(images)
    random.Random(seed).shuffle(shuffled)
    return (
        shuffled[: math.ceil(len(images) * (1 - share))],
        shuffled[len(images) - round(len(images) * share) :],
    )


def _sorted(subset: SubsetFacts) -> list[ImageFacts]:
    return sorted(subset.images, key=lambda image: str(image.path))


def _fault(
    resolved: Resolved, key: str, what: str, rule: str, severity: Severity = "error"
) -> Fault:
    return Fault(read.where(resolved, key), what, "", rule, severity)
