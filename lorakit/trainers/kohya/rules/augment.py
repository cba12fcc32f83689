"""Caption words and image changes that need each other, and the buckets' bounds."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Rule, warning

SPLITTERS = ("shuffle_caption", "token_warmup_step", "caption_tag_dropout_rate")


def splits_captions(case: Case) -> bool:
    return any(case.anywhere(key) for key in SPLITTERS)


def buckets(case: Case) -> Iterator[Fault]:
    if not case.flag("enable_bucket"):
        return
    step = case.number("bucket_reso_steps")
    needed = case.about.bucket_step
    if step <= 0 or step % needed:
        what = f"{step:g} is not a multiple of {needed}, which this family needs."
        hint = f"Write bucket_reso_steps = {needed}."
        yield case.fault("bucket_reso_steps", what, hint, "bucket-step")
        return
    text = str(case.value("resolution") or "")
    sides = [int(part) for part in text.split(",") if part.strip().isdigit()]
    if not sides or not min(sides):
        return
    low = case.number("min_bucket_reso") // step * step
    high = -(-case.number("max_bucket_reso") // step) * step
    wider = f"Write max_bucket_reso = {2 * max(sides)}."
    if low > min(sides):
        what = f"{low:g} is more than the short side of the resolution."
        yield case.fault(
            "min_bucket_reso", what, "Write a smaller min_bucket_reso.", "bucket-bounds"
        )
    if high < max(sides):
        what = f"{high:g} is less than the long side of the resolution."
        yield case.fault("max_bucket_reso", what, wider, "bucket-bounds")
    elif high < 1.5 * max(sides) and not case.flag("bucket_no_upscale"):
        what = f"{high:g} leaves wide and tall images small: 16:9 loses a third of its pixels."
        yield case.fault("max_bucket_reso", what, wider, "bucket-narrow", "warning")


RULES = (
    warning(
        "keep-tokens-alone",
        "keep_tokens",
        lambda c: c.anywhere("keep_tokens") and not splits_captions(c),
        "has no effect without shuffle_caption, token_warmup_step or caption_tag_dropout_rate.",
    ),
    Rule(
        "separator-in-caption",
        "keep_tokens_separator",
        lambda c: c.anywhere("keep_tokens_separator") and not splits_captions(c),
        "the separator is trained as part of the caption unless shuffle_caption, token_warmup_step"
        " or caption_tag_dropout_rate is on.",
        "Turn one of them on, or remove keep_tokens_separator.",
    ),
    warning(
        "masks-missing",
        "masked_loss",
        lambda c: (
            c.flag("masked_loss")
            and not c.anywhere("alpha_mask")
            and not c.anywhere("conditioning_data_dir")
        ),
        "no images have masks, so the loss counts every pixel as ever.",
        "Set alpha_mask = true, or conditioning_data_dir in [dataset.subset.FOLDER].",
    ),
    warning(
        "separator-rejoined",
        "caption_separator",
        lambda c: splits_captions(c) and str(c.value("caption_separator") or ",").strip() != ",",
        'shuffled captions are joined again with ", " whatever the separator was.',
    ),
    Rule(
        "crop-range-form",
        "face_crop_aug_range",
        lambda c: (
            c.is_set("face_crop_aug_range") and not two_numbers(c.value("face_crop_aug_range"))
        ),
        "takes two numbers in one text.",
        'Write face_crop_aug_range = "1.0,2.0".',
    ),
    warning(
        "repeats-unused",
        "dataset_repeats",
        lambda c: c.is_set("dataset_repeats"),
        "is never reached: the dataset file that lorakit writes says num_repeats for each folder.",
        "Put the repeats into the folder's name, e.g. 20_trigger.",
    ),
    Rule(
        "buckets-off-crops",
        "random_crop",
        lambda c: c.flag("random_crop") and c.flag("enable_bucket"),
        "with buckets an image is cut at random inside its bucket only.",
        severity="note",
    ),
    Rule(
        "validation-on-mps",
        "validation_split",
        lambda c: c.number("validation_split") > 0 and c.machine.accelerator == "mps",
        "validation reads CUDA's random state and breaks on this Mac.",
        "Remove validation_split here.",
    ),
    warning(
        "validation-idle",
        "validate_every_n_steps",
        lambda c: (
            (c.is_set("validate_every_n_steps") or c.is_set("validate_every_n_epochs"))
            and c.number("validation_split") == 0
        ),
        "nothing is held back to validate on.",
        "Set validation_split = 0.1.",
    ),
    buckets,
)


def two_numbers(value: object) -> bool:
    parts = str(value).split(",")
    try:
        return len([float(part) for part in parts]) == 2
    except ValueError:
        return False
