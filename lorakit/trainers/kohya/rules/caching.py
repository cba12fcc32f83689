"""Cached latents and cached text-encoder outputs: what they forbid and what is silently lost."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import FLOW, Case, Rule

FORBIDDEN = (
    "shuffle_caption",
    "caption_dropout_rate",
    "caption_tag_dropout_rate",
    "token_warmup_step",
)
LOST = (
    "caption_prefix",
    "caption_suffix",
    "enable_wildcard",
    "secondary_separator",
    "caption_dropout_every_n_epochs",
)
IN_PLACE = {
    "caption_prefix": "Write the words into the caption files: `lorakit dataset caption`.",
    "caption_suffix": "Write the words into the caption files: `lorakit dataset caption`.",
}


def captions_that_change(case: Case) -> Iterator[Fault]:
    """A cached text is one fixed text: whatever varies it is asserted against, or lost without a
    word.
    """
    if not case.caches_text:
        return
    allowed = {"caption_dropout_rate"} if case.family == "anima" else set()
    for key in FORBIDDEN:
        if key not in allowed:
            for where, _ in case.everywhere(key):
                yield Fault(
                    where,
                    "cannot be used with cached text-encoder outputs: each caption is encoded once,"
                    " unchanged.",
                    f"Remove {key}, or set cache_text_encoder_outputs = false.",
                    "text-cache-captions",
                )
    for key in LOST:
        for where, _ in case.everywhere(key):
            yield Fault(
                where,
                "is silently ignored with cached text-encoder outputs: the caption file is encoded"
                " as it stands.",
                IN_PLACE.get(key, f"Remove {key}, or set cache_text_encoder_outputs = false."),
                "text-cache-lost",
            )


def augmented_latents(case: Case) -> Iterator[Fault]:
    if case.caches_latents:
        for key in ("color_aug", "random_crop"):
            for where, _ in case.everywhere(key):
                yield Fault(
                    where,
                    "cannot be used with cached latents.",
                    f"Remove {key}, or set cache_latents = false.",
                    "latent-cache-augment",
                )


RULES = (
    Rule(
        "text-cache-training",
        "cache_text_encoder_outputs",
        lambda c: c.caches_text and not c.on("network_train_unet_only"),
        "the text encoder cannot be trained while its outputs are cached.",
        "Set network_train_unet_only = true.",
        families=("sdxl", "anima"),
    ),
    Rule(
        "t5-training-cache",
        "network_args",
        lambda c: (
            c.caches_text
            and "train_t5xxl=True" in [word.replace(" ", "") for word in c.words("network_args")]
        ),
        "train_t5xxl=True cannot be used with cached text-encoder outputs.",
        "Remove it, or set cache_text_encoder_outputs = false.",
        families=("flux", "sd3"),
    ),
    Rule(
        "weighted-captions-ignored",
        "weighted_captions",
        lambda c: c.on("weighted_captions"),
        "this family's script does not read it.",
        "Remove it.",
        families=FLOW,
        severity="warning",
    ),
    Rule(
        "text-cache-missing",
        "cache_text_encoder_outputs",
        lambda c: not c.caches_text and c.on("network_train_unet_only"),
        "off: the text encoders stay on the device and run at every step although they are not"
        " trained.",
        "Set cache_text_encoder_outputs = true.",
        families=("flux",),
        severity="warning",
    ),
)
FINDERS = (captions_that_change, augmented_latents)
