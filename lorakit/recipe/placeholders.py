"""`{trigger}` and `{name}` in prompts and captions. `{a|b}` is the trainer's, and left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lorakit.errors import nearest

_BRACES = re.compile(r"\{([^{}|]*)\}")

# Where they are filled, besides every text of [sample] and [dataset.subset.*].
TRAIN_KEYS = (
    *("caption_prefix", "caption_suffix", "output_name", "training_comment"),
    *("log_prefix", "wandb_run_name"),
)


def fill(value: Any, words: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The value with every word filled in, and one message for each that nobody knows."""
    problems: list[str] = []

    def put(match: re.Match[str]) -> str:
        word = match[1].strip()
        if words.get(word):
            return words[word]
        if word in words:
            problems.append(f"{match[0]} stands here, and the recipe has no {word}.")
        else:
            near = nearest(word, words)
            known = " and ".join(f"{{{one}}}" for one in words)
            hint = f"Did you mean {{{near}}}?" if near else f"There are {known}."
            problems.append(f"{match[0]} is not a word that can be filled in. {hint}")
        return match[0]

    def walk(item: Any) -> Any:
        if isinstance(item, str):
            return _BRACES.sub(put, item)
        if isinstance(item, list):
            return [walk(one) for one in item]
        if isinstance(item, dict):
            return {key: walk(one) for key, one in item.items()}
        return item

    return walk(value), problems


def is_filled(section: str, key: str) -> bool:
    if section == "train":
        return key in TRAIN_KEYS or key.startswith("metadata_")
    return section == "sample" or (section, key) == ("dataset", "subset")
