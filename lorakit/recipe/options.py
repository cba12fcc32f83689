"""Reads training options with the type the script gives them. A value of the wrong type was
reported before, and reads as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorakit.dataset.buckets import BucketRules
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved

CAPTION_EXTENSION = ".txt"  # the script's own default is .caption, which nobody writes


def whole(resolved: Resolved, key: str, default: int) -> int:
    value = maybe_whole(resolved, key)
    return default if value is None else value


def maybe_whole(resolved: Resolved, key: str) -> int | None:
    value = resolved.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(resolved: Resolved, key: str, default: float) -> float:
    value = resolved.get(key)
    return (
        float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default
    )


def text(resolved: Resolved, key: str, default: str = "") -> str:
    value = resolved.get(key)
    return value if isinstance(value, str) else default


def flag(resolved: Resolved, key: str) -> bool:
    return resolved.get(key) is True


def texts(resolved: Resolved, key: str) -> tuple[str, ...]:
    """A list option as texts; network_args and its like."""
    value = resolved.get(key)
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def arguments(resolved: Resolved, key: str) -> dict[str, str]:
    """network_args and optimizer_args as the script reads them: split at the first `=`."""
    return {
        name.strip(): value
        for name, _, value in (item.partition("=") for item in texts(resolved, key))
    }


def resolution(resolved: Resolved) -> tuple[int, int]:
    """Width and height; the family's usual square where none is set or it cannot be read."""
    value = resolved.get("resolution")
    parts: list[Any] = (
        value.split(",")
        if isinstance(value, str)
        else list(value)
        if isinstance(value, (list, tuple))
        else [value]
    )
    try:
        sides = [int(part) for part in parts if part is not None]
    except (TypeError, ValueError):
        sides = []
    if len(sides) in (1, 2):
        return sides[0], sides[-1]
    side = FAMILIES[resolved.family].default_resolution
    return side, side


def bucket_rules(resolved: Resolved) -> BucketRules:
    return BucketRules(
        resolution=resolution(resolved),
        enable=flag(resolved, "enable_bucket"),
        min=whole(resolved, "min_bucket_reso", 256),
        max=whole(resolved, "max_bucket_reso", 1024),
        step=whole(resolved, "bucket_reso_steps", 64),
        no_upscale=flag(resolved, "bucket_no_upscale"),
    )


def caption_extension(resolved: Resolved) -> str:
    setting = resolved.dataset.get("caption_extension") or resolved.train.get("caption_extension")
    extension = (
        setting.value
        if setting and isinstance(setting.value, str) and setting.value
        else CAPTION_EXTENSION
    )
    return extension if extension.startswith(".") else f".{extension}"


def subset_overrides(resolved: Resolved, folder: str) -> Mapping[str, Any]:
    """What `[dataset.subset.FOLDER]` says about one folder."""
    setting = resolved.dataset.get("subset")
    table = setting.value if setting else None
    own = table.get(folder) if isinstance(table, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def where(resolved: Resolved, key: str) -> str:
    """Where a training option was set, or would be."""
    setting = resolved.train.get(key)
    return f"{setting.source if setting else recipe_name(resolved)} [train] {key}"


def recipe_name(resolved: Resolved) -> str:
    """The recipe as a person names it: from the project's root."""
    return (
        resolved.file.relative_to(resolved.root).as_posix()
        if resolved.file.is_relative_to(resolved.root)
        else str(resolved.file)
    )


def launched(resolved: Resolved, key: str, default: int) -> int:
    """A whole number from [launch]."""
    setting = resolved.launch.get(key)
    value = setting.value if setting else default
    return value if isinstance(value, int) and not isinstance(value, bool) else default
