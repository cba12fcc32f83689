"""Caption words and image changes that need each other, what caches forbid and silently lose, and
the buckets' bounds.
"""

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.kohya.rules.network import numbers
from lorakit.trainers.rule import Case, Finder, Rule, warning

SPLITTERS = ("shuffle_caption", "token_warmup_step", "caption_tag_dropout_rate")
FORBIDDEN = (*SPLITTERS, "caption_dropout_rate")
CROP = "face_crop_aug_range"
LOST = (
    *("caption_prefix", "caption_suffix", "enable_wildcard", "secondary_separator"),
    "caption_dropout_every_n_epochs",
)


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
        hint = "Write a smaller min_bucket_reso."
        yield case.fault("min_bucket_reso", what, hint, "bucket-bounds")
    if high < max(sides):
        what = f"{high:g} is less than the long side of the resolution."
        yield case.fault("max_bucket_reso", what, wider, "bucket-bounds")
    elif high < 1.5 * max(sides) and not case.flag("bucket_no_upscale"):
        what = f"{high:g} leaves wide and tall images small: 16:9 loses a third of its pixels."
        yield case.fault("max_bucket_reso", what, wider, "bucket-narrow", "warning")


def what_caches_spoil(case: Case) -> Iterator[Fault]:
    """A cached text is one fixed text: whatever varies it is asserted against, or lost silently."""
    spoiled: list[tuple[str, str, str, str]] = []
    if case.caches_text:
        cache, kept = "cache_text_encoder_outputs", "with cached text-encoder outputs"
        what = f"cannot be used {kept}: each caption is encoded just once."
        harmless = {"caption_dropout_rate"} if case.family == "anima" else set()
        spoiled += [
            ("text-cache-captions", cache, key, what) for key in FORBIDDEN if key not in harmless
        ]
        what = f"is silently ignored {kept}: only the file is encoded."
        spoiled += [("text-cache-lost", cache, key, what) for key in LOST]
    if case.caches_latents:
        what = "cannot be used with cached latents."
        augments = ("color_aug", "random_crop")
        spoiled += [("latent-cache-augment", "cache_latents", key, what) for key in augments]
    for rule, cache, key, what in spoiled:
        hint = f"Remove {key}, or set {cache} = false."
        if key in {"caption_prefix", "caption_suffix"}:
            hint = "Write the words into the caption files: `lorakit dataset caption`."
        yield from (Fault(where, what, hint, rule) for where, _ in case.everywhere(key))


RULES: tuple[Finder, ...] = (
    warning(
        "separator-rejoined",
        "caption_separator",
        lambda c: splits_captions(c) and str(c.value("caption_separator") or ",").strip() != ",",
        'shuffled captions are joined again with ", " whatever the separator was.',
    ),
    Rule(
        "crop-range-form",
        CROP,
        lambda c: c.is_set(CROP) and bool(numbers(str(c.value(CROP)), float, 2)),
        "takes two numbers in one text.",
        'Write face_crop_aug_range = "1.0,2.0".',
    ),
    Rule(
        "validation-on-mps",
        "validation_split",
        lambda c: c.number("validation_split") > 0 and c.machine.accelerator == "mps",
        "validation reads CUDA's random state and breaks on this Mac.",
        "Remove validation_split here.",
    ),
    buckets,
    Rule(
        "text-cache-training",
        "cache_text_encoder_outputs",
        lambda c: c.caches_text and not c.flag("network_train_unet_only"),
        "the text encoder cannot be trained while its outputs are cached.",
        "Set network_train_unet_only = true.",
        families=("sdxl", "anima"),
    ),
    Rule(
        "t5-training-cache",
        "network_args",
        lambda c: (
            c.caches_text and c.arguments("network_args").get("train_t5xxl", "").strip() == "True"
        ),
        "train_t5xxl=True cannot be used with cached text-encoder outputs.",
        "Remove it, or set cache_text_encoder_outputs = false.",
        families=("flux", "sd3"),
    ),
    warning(
        "text-cache-missing",
        "cache_text_encoder_outputs",
        lambda c: not c.caches_text and c.flag("network_train_unet_only"),
        "off: the text encoders stay on the device and run at every step although they are not"
        " trained.",
        "Set cache_text_encoder_outputs = true.",
        families=("flux",),
    ),
    what_caches_spoil,
)
