"""The arithmetic of a run, as the training script will do it: its steps, and what it saves when.

Every image is put into its bucket as many times as it repeats; a bucket makes ceil(samples / batch
size) batches, so the last batch of each may be short. Regularisation images join in folder order
until they are as many as the training samples; if there are too few, each gets one repeat more in
turn. Batches are dealt to the processes evenly (the last round is filled up), and every
`gradient_accumulation_steps` of them make one step; an epoch's rest makes one too. Several
resolutions are several datasets, each with buckets of its own; where a trainer keeps folders apart,
so has each folder.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lorakit.catalogue.file_names import CheckpointName
from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError, check
from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.dataset.split import epochs_sentence, hold_out, match_reg, samples_sentence
from lorakit.errors import Fault, counted
from lorakit.plan.foreseen import Checkpoint
from lorakit.plan.model import Bucket, Steps
from lorakit.recipe.options import Options
from lorakit.trainers.table import trainer

Key = tuple[tuple[int, int], int, str]  # size, frames, folder
MAX_STEPS = 10_000_000  # beyond that nothing is listed, because nothing is started


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
    # (repeats, images and pieces of films) of each training subset
    terms: tuple[tuple[int, int], ...]


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
            terms.append((repeats, sum(len(lengths(options, image)) for image in kept)))
        validation += held if repeats >= 1 else ()
    matched = match_reg([one.repeats for one in reg], sum(one.repeats for one in train))
    used = tuple(Draw(one.image, n) for one, n in zip(reg, matched, strict=True) if n)
    reg_images = sum(one.repeats for one in reg)
    return Split(tuple(train), used, reg_images, tuple(validation), leaked, tuple(terms))


def repeats_of(options: Options, subset: SubsetFacts) -> int:
    repeats: int = options.subset(subset.path.name).get("num_repeats", subset.repeats)
    return repeats


def lengths(options: Options, image: ImageFacts) -> list[int]:
    """In frames, of the pieces of a film that are trained; [0] of a picture."""
    if not image.frames:
        return [0]
    pieces = options.film_rules(image.path.parent).pieces(image.frames)
    return [length for _, length in pieces]


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
        filled, misfits = _filled(options, draws, rules, separate=separate)
        buckets += (_bucket(key, filled[key], options.batch_size) for key in sorted(filled))
        faults += misfits
    return tuple(buckets), faults


def _filled(
    options: Options, draws: Iterable[Draw], rules: BucketRules, *, separate: bool
) -> tuple[dict[Key, list[Draw]], list[Fault]]:
    filled: dict[Key, list[Draw]] = {}
    of_pictures, of_films = Chooser(rules), Chooser(replace(rules, no_upscale=False))
    faults: list[Fault] = []
    for draw in draws:
        where, hint = str(draw.image.path), "Enlarge it or leave it out."
        try:
            chooser = of_films if draw.image.frames else of_pictures
            size = chooser.choose(draw.image.width, draw.image.height).bucket
            folder = str(draw.image.path.parent) if separate else ""
            for frames in lengths(options, draw.image):
                filled.setdefault((size, frames, folder), []).append(draw)
        except (UnfitError, ZeroDivisionError) as error:
            faults.append(Fault(where, f"{error}.", hint, "image-too-small"))
    return filled, faults


def _bucket(key: Key, members: list[Draw], batch_size: int) -> Bucket:
    count = sum(draw.repeats for draw in members)
    images = tuple(draw.image for draw in members)
    return Bucket(*key[0], images, count, math.ceil(count / batch_size), key[1])


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
        train_images=datasets
        * sum(one.repeats * len(lengths(options, one.image)) for one in split.train),
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


# What is saved and sampled, when, and under which names: exactly the script's.


def checkpoints(
    options: Options, total: int, epochs: int, per_epoch: int
) -> tuple[Checkpoint, ...]:
    """In the order of writing; `kept`: is it still there at the end?"""
    if not 1 <= total <= MAX_STEPS:
        return ()
    names = trainer(options.resolved.trainer).names(options)
    name, state = names[0], options.flag("save_state")
    made = _by_step(options, names, total, per_epoch)
    made += _by_epoch(options, total, epochs, per_epoch)
    saved: list[Checkpoint] = []
    for found in sorted(made, key=lambda one: one.step):  # a step's file before its epoch's
        saved.append(found)
        if state:
            due = name.at_step(found.step) if found.kind == "step" else name.at_epoch(found.epoch)
            kept = _kept(options, found, total, epochs, state=True)
            saved.append(replace(found, name=str(due.as_state()), kind="state", kept=kept))
    if state or options.flag("save_state_on_train_end"):
        saved.append(Checkpoint(str(name.as_state()), total, epochs, "state"))
    return (*saved, *(Checkpoint(str(one), total, epochs, "final") for one in names))


def every_epochs(options: Options, epochs: int) -> int:
    """save_every_n_epochs, or what save_n_epoch_ratio makes of it; 0: never."""
    ratio = options.integer("save_n_epoch_ratio")
    if ratio > 0:
        return math.floor(epochs / ratio) or 1
    return max(0, options.integer("save_every_n_epochs"))


def sample_steps(options: Options, total: int, epochs: int, per_epoch: int) -> tuple[int, ...]:
    """0 is before the first step. Epochs win over steps, as in the script."""
    if not options.is_set("sample_prompts") or not 1 <= total <= MAX_STEPS:
        return ()
    first = [0] if options.flag("sample_at_first") else []
    by_epoch, by_step = (options.integer(f"sample_every_n_{unit}") for unit in ("epochs", "steps"))
    if by_epoch > 0:
        ends = range(by_epoch, epochs + 1, by_epoch)
        return (*first, *(min(epoch * per_epoch, total) for epoch in ends))
    late = trainer(options.resolved.trainer).names(options)[0].from_zero
    due = range(by_step + late, total + 1, by_step) if by_step > 0 else ()
    return (*first, *due, *([total] if late and total not in due else ()))


def _by_step(
    options: Options, names: tuple[CheckpointName, ...], total: int, per_epoch: int
) -> list[Checkpoint]:
    every = options.integer("save_every_n_steps")
    if every < 1:
        return []
    late = int(names[0].from_zero)  # one that counts from 0 saves a step later
    found = [
        Checkpoint(str(name.at_step(step)), step, math.ceil(step / per_epoch), "step")
        for step in range(every + late, total + 1, every)
        for name in names
    ]
    if "max_step_saves_to_keep" in options.known:  # the two last files of an expert count, too
        kept = len(names) * options.integer("max_step_saves_to_keep")
        first = len(found) + (len(names) if names[0].part else 0) - kept
        return [replace(one, kept=number >= first) for number, one in enumerate(found)]
    return [replace(one, kept=_kept(options, one, total, 0)) for one in found]


def _by_epoch(options: Options, total: int, epochs: int, per_epoch: int) -> list[Checkpoint]:
    """The last epoch has no file of its own: the final one stands for it."""
    every = every_epochs(options, epochs)
    if not every:
        return []
    name = CheckpointName(options.output_name)
    found = [
        Checkpoint(str(name.at_epoch(epoch)), min(epoch * per_epoch, total), epoch, "epoch")
        for epoch in range(every, epochs, every)
    ]
    return [replace(one, kept=_kept(options, one, total, epochs)) for one in found]


def _kept(
    options: Options, saved: Checkpoint, total: int, epochs: int, *, state: bool = False
) -> bool:
    """At the end. A state follows save_last_n_*_state, or the models' own where that is 0."""
    unit = "steps" if saved.kind == "step" else "epochs"
    last = options.maybe_integer(f"save_last_n_{unit}")
    if state:
        last = options.integer(f"save_last_n_{unit}_state") or last
    if last is None:
        return True
    if unit == "epochs":
        return last < 0 or saved.epoch + every_epochs(options, epochs) * last >= epochs
    # At every save s the script drops the multiple of `every` at or below s - last - 1: `last`
    # counts steps, not files. Only the first few saves from step + last + 1 on can drop this one.
    every = options.integer("save_every_n_steps")
    first = -(-(saved.step + last + 1) // every) * every
    saves = range(max(every, first), min(total, first + every) + 1, every)
    return not any((gone := now - last - 1) - gone % every == saved.step for now in saves)
