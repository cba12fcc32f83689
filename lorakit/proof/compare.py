"""Two nested accounts, compared key by key. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorakit.json_text import leaves

# Options that a run's folder or its machine decides, not the recipe.
LOCAL = frozenset(
    {
        *("output_dir", "logging_dir", "dataset_config", "sample_prompts", "config_file"),
        *("train_data_dir", "reg_data_dir", "resume", "tokenizer_cache_dir"),
    }
)


@dataclass(frozen=True)
class Difference:
    """None stands for a side without the key; `note` says what is wrong without two values."""

    key: str
    before: Any = None
    after: Any = None
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            return f"{self.key}: {self.note}"
        if self.before is None:
            return f"{self.key}: {shown(self.after)} is new"
        if self.after is None:
            return f"{self.key}: {shown(self.before)} is gone"
        return f"{self.key}: {shown(self.before)} -> {shown(self.after)}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    a, b = dict(leaves(before)), dict(leaves(after))
    return [
        Difference(key, a.get(key), b.get(key))
        for key in dict.fromkeys([*a, *b])
        if not same(a.get(key), b.get(key))
    ]


def same(a: Any, b: Any) -> bool:
    """1 and 1.0 are the same number however TOML spelt it; True and 1 are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def shown(value: Any) -> str:
    """A value in a line; a hash by its beginning."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return text[:12]
    return text if len(text) <= 200 else text[:197] + "..."
