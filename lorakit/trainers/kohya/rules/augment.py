"""Caption words and image changes that need each other, and the buckets' bounds."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.trainers.rule import Case, Rule

SPLITTERS = ("shuffle_caption", "token_warmup_step", "caption_tag_dropout_rate")


def splits_captions(case: Case) -> bool:
    return any(case.anywhere(key) for key in SPLITTERS)


def side(case: Case, pick: str) -> int:
    """The short or long side of the resolution; 0 where it is unset or unreadable."""
    sides = [
        int(part)
        for part in str(case.value("resolution") or "").split(",")
        if part.strip().isdigit()
    ]
    return 0 if not sides else min(sides) if pick == "short" else max(sides)


def buckets(case: Case) -> Iterator[Fault]:
    step = case.number("bucket_reso_steps")
    needed = FAMILIES[case.family].bucket_step
    if step <= 0 or step % needed:
        yield Fault(
            case.where("bucket_reso_steps"),
            f"{step:g} is not a multiple of {needed}, which this family needs.",
            f"Write bucket_reso_steps = {needed}.",
            "bucket-step",
        )
        return
    if not case.on("enable_bucket") or not side(case, "short"):
        return
    low, high = (
        case.number("min_bucket_reso") // step * step,
        -(-case.number("max_bucket_reso") // step) * step,
    )
    if low > side(case, "short"):
        yield Fault(
            case.where("min_bucket_reso"),
            f"{low:g} is more than the short side of the resolution.",
            "Write a smaller min_bucket_reso.",
            "bucket-bounds",
        )
    if high < side(case, "long"):
        yield Fault(
            case.where("max_bucket_reso"),
            f"{high:g} is less than the long side of the resolution.",
            f"Write max_bucket_reso = {2 * side(case, 'long')}.",
            "bucket-bounds",
        )
    elif high < 1.5 * side(case, "long") and not case.on("bucket_no_upscale"):
        yield Fault(
            case.where("max_bucket_reso"),
            f"{high:g} leaves wide and tall images small: 16:9 loses a third of its pixels.",
            f"Write max_bucket_reso = {2 * side(case, 'long')}.",
            "bucket-narrow",
            "warning",
        )


RULES = (
    Rule(
        "keep-tokens-alone",
        "keep_tokens",
        lambda c: c.anywhere("keep_tokens") and not splits_captions(c),
        "has no effect without shuffle_caption, token_warmup_step or caption_tag_dropout_rate.",
        severity="warning",
    ),
    Rule(
        "separator-in-caption",
        "keep_tokens_separator",
        lambda c: c.anywhere("keep_tokens_separator") and not splits_captions(c),
        "the separator is trained as part of the caption unless shuffle_caption, token_warmup_step"
        " or caption_tag_dropout_rate is on.",
        "Turn one of them on, or remove keep_tokens_separator.",
    ),
    Rule(
        "separator-rejoined",
        "caption_separator",
        lambda c: splits_captions(c) and str(c.value("caption_separator") or ",").strip() != ",",
        'shuffled captions are joined again with ", " whatever the separator was.',
        severity="warning",
    ),
    Rule(
        "crop-range-form",
        "face_crop_aug_range",
        lambda c: c.said("face_crop_aug_range") and not two_numbers(c.value("face_crop_aug_range")),
        "takes two numbers in one text.",
        'Write face_crop_aug_range = "1.0,2.0".',
    ),
    Rule(
        "repeats-unused",
        "dataset_repeats",
        lambda c: c.said("dataset_repeats"),
        "is never reached: the dataset file that lorakit writes says num_repeats for each folder.",
        "Put the repeats into the folder's name, e.g. 20_trigger.",
        severity="warning",
    ),
    Rule(
        "buckets-off-crops",
        "random_crop",
        lambda c: c.on("random_crop") and c.on("enable_bucket"),
        "with buckets an image is cut at random inside its bucket only.",
        severity="note",
    ),
    Rule(
        "validation-share",
        "validation_split",
        lambda c: not 0 <= c.number("validation_split") <= 1,
        "{value} is no share: validation would be skipped and the training images cut all the"
        " same.",
        "Write a share such as 0.1.",
    ),
    Rule(
        "validation-on-mps",
        "validation_split",
        lambda c: c.number("validation_split") > 0 and c.machine.accelerator == "mps",
        "validation reads CUDA's random state and breaks on this Mac.",
        "Remove validation_split here.",
    ),
    Rule(
        "validation-idle",
        "validate_every_n_steps",
        lambda c: (
            (c.said("validate_every_n_steps") or c.said("validate_every_n_epochs"))
            and c.number("validation_split") == 0
        ),
        "nothing is held back to validate on.",
        "Set validation_split = 0.1.",
        severity="warning",
    ),
)
FINDERS = (buckets,)


def two_numbers(value: object) -> bool:
    parts = str(value).split(",")
    try:
        return len([float(part) for part in parts]) == 2
    except ValueError:
        return False
