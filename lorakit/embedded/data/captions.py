"""What a caption becomes before the text encoder sees it: kohya's order of operations, decided by
a random source that is handed in.
"""

import math
import random
import re

from lorakit.embedded.data.dataset_config import Subset


def process(
    caption: str, rules: Subset, chance: random.Random, *, epoch: int, step: int, total_steps: int
) -> str:
    """`epoch` counts from 1. Dropping the whole caption drops prefix and suffix with it."""
    if rules.caption_prefix:
        caption = f"{rules.caption_prefix} {caption}"
    if rules.caption_suffix:
        caption = f"{caption} {rules.caption_suffix}"
    dropped = rules.caption_dropout_rate > 0 and chance.random() < rules.caption_dropout_rate
    if dropped or (
        rules.caption_dropout_every_n_epochs > 0
        and epoch % rules.caption_dropout_every_n_epochs == 0
    ):
        return ""
    caption = _wildcards(caption, chance) if rules.enable_wildcard else caption.split("\n")[0]
    if rules.varies:
        caption = _shuffled(caption, rules, chance, step=step, total_steps=total_steps)
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator)
    return caption


def _wildcards(caption: str, chance: random.Random) -> str:
    """One line of several; {a|b} becomes a or b; {{ and }} stand for braces."""
    if "\n" in caption:
        caption = chance.choice(caption.split("\n"))
    opened, closed = "\ue000", "\ue001"  # private use: no caption holds them
    caption = caption.replace("{{", opened).replace("}}", closed)
    caption = re.sub(r"\{([^}]+)\}", lambda found: chance.choice(found[1].split("|")), caption)
    return caption.replace(opened, "{").replace(closed, "}")


def _shuffled(
    caption: str, rules: Subset, chance: random.Random, *, step: int, total_steps: int
) -> str:
    def tags(text: str) -> list[str]:
        return [tag.strip() for tag in text.split(rules.caption_separator) if tag.strip()]

    first: list[str] = []
    last: list[str] = []
    mark = rules.keep_tokens_separator
    if mark and mark in caption:
        head, _, rest = caption.partition(mark)
        middle, _, tail = rest.partition(mark)
        first, free, last = tags(head), tags(middle), tags(tail)
    else:
        every = [tag.strip() for tag in caption.strip().split(rules.caption_separator)]
        first, free = every[: rules.keep_tokens], every[rules.keep_tokens :]
    warmup, least = rules.token_warmup_step, rules.token_warmup_min
    if warmup < 1:
        warmup = math.floor(warmup * total_steps)
    if warmup and step < warmup:
        free = free[: math.floor(step * (len(free) - least) / warmup) + least]
    if rules.shuffle_caption:
        chance.shuffle(free)
    if rules.caption_tag_dropout_rate > 0:
        free = [tag for tag in free if chance.random() >= rules.caption_tag_dropout_rate]
    return ", ".join([*first, *free, *last])  # always a comma, whatever the separator: kohya's way
