"""Cached latents and cached text-encoder outputs: what they forbid and what is silently lost."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import FLOW, Case, Rule, warning

FORBIDDEN = (
    "shuffle_caption",
    "caption_dropout_rate",
    "caption_tag_dropout_rate",
    "token_warmup_step",
)
LOST = (
    *("caption_prefix", "caption_suffix", "enable_wildcard", "secondary_separator"),
    "caption_dropout_every_n_epochs",
)
IN_FILES = "Write the words into the caption files: `lorakit dataset caption`."


def captions_that_change(case: Case) -> Iterator[Fault]:
    """A cached text is one fixed text: whatever varies it is asserted against, or lost silently."""
    if not case.caches_text:
        return
    for key in FORBIDDEN:
        if case.family == "anima" and key == "caption_dropout_rate":
            continue
        what = "cannot be used with cached text-encoder outputs: each caption is encoded just once."
        hint = f"Remove {key}, or set cache_text_encoder_outputs = false."
        for where, _ in case.everywhere(key):
            yield Fault(where, what, hint, "text-cache-captions")
    for key in LOST:
        what = "is silently ignored with cached text-encoder outputs: only the file is encoded."
        hint = f"Remove {key}, or set cache_text_encoder_outputs = false."
        if key in {"caption_prefix", "caption_suffix"}:
            hint = IN_FILES
        for where, _ in case.everywhere(key):
            yield Fault(where, what, hint, "text-cache-lost")


def augmented_latents(case: Case) -> Iterator[Fault]:
    for key in ("color_aug", "random_crop") if case.caches_latents else ():
        hint = f"Remove {key}, or set cache_latents = false."
        for where, _ in case.everywhere(key):
            yield Fault(where, "cannot be used with cached latents.", hint, "latent-cache-augment")


RULES = (
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
        "weighted-captions-ignored",
        "weighted_captions",
        lambda c: c.flag("weighted_captions"),
        "this family's script does not read it.",
        "Remove it.",
        families=FLOW,
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
    captions_that_change,
    augmented_latents,
)
