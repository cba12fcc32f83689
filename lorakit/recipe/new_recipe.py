"""The text of a new recipe: short, with a word on every line one may want to change. Not a
command itself.
"""

from __future__ import annotations

from typing import Any

from lorakit.families import FAMILIES
from lorakit.recipe.presets import Preset
from lorakit.toml_text import value_text


def recipe_text(name: str, preset: Preset, trigger: str) -> str:
    title, family = preset.title or preset.name, FAMILIES[preset.family]
    head = [
        ("preset", preset.name, ""),
        ("name", name, ""),
        ("trigger", trigger, "first in every caption and prompt"),
    ]
    weights = [
        (("" if weight.required else "# ") + weight.key, weight.path, weight.what)
        for weight in family.weights
    ]
    folders = f"holds folders such as 10_{trigger}: 10 repeats of every image in it"
    lines = [
        f"# {title}. `lorakit presets show {preset.name}` says where its numbers come from.",
        *_aligned(head),
        "",
        "[model]    # paths start at the project's folder; hf:owner/repo/file@revision is fetched",
        *_aligned(weights),
        "",
        "[dataset]",
        *_aligned([("path", f"datasets/{name}", folders)]),
        "",
        "[train]    # only what differs from the preset, under kohya's option names",
        *_length(preset),
        "",
        "[sample]   # pictures while it trains",
        *_prompts(preset),
    ]
    return "\n".join(lines) + "\n"


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    """`key = "value"    # comment`, in columns."""
    key_width = max(len(key) for key, _, _ in rows)
    said = [f"{key.ljust(key_width)} = {value_text(value)}" for key, value, _ in rows]
    width = max(map(len, said))
    return [
        f"{text.ljust(width)}    # {row[2]}" if row[2] else text
        for text, row in zip(said, rows, strict=True)
    ]


def _length(preset: Preset) -> list[str]:
    """The one number most people change first, as a comment with the preset's own value."""
    said: dict[str, Any] = {}
    for page in _pages(preset):
        said |= page.sections.get("train", {})
    return [
        f"# {key} = {said[key]}    # more when underfit, fewer when overfit"
        for key in ("max_train_epochs", "max_train_steps")
        if key in said
    ]


def _prompts(preset: Preset) -> list[str]:
    """The preset's own prompts, which know what kind of picture it is for."""
    said = [page.sections.get("sample", {}).get("prompts") for page in reversed(_pages(preset))]
    prompts = next(filter(None, said), ["{trigger}, portrait, soft light"])
    return ["prompts = [", *(f"  {value_text(prompt)}," for prompt in prompts), "]"]


def _pages(preset: Preset) -> list[Preset]:
    return [page for page in (preset.base, preset) if page]
