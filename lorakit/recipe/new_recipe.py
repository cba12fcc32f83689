"""The text of a new recipe: short, with a word on every line a person may want to change. Not a
command itself.
"""

from __future__ import annotations

from lorakit.families import FAMILIES
from lorakit.recipe.presets import Preset
from lorakit.recipe.values import told


def recipe_text(name: str, preset: Preset, trigger: str) -> str:
    return (
        "\n".join(
            [
                (
                    f"# {preset.title or preset.name}. `lorakit presets show {preset.name}` tells"
                    " where its numbers come from."
                ),
                *_aligned(
                    [
                        ("preset", preset.name, ""),
                        ("name", name, ""),
                        ("trigger", trigger, "first in every caption and prompt"),
                    ]
                ),
                "",
                (
                    "[model]    # paths start from this project's folder;"
                    " hf:owner/repo/file@revision is fetched"
                ),
                *_weights(preset.family),
                "",
                "[dataset]",
                *_aligned(
                    [
                        (
                            "path",
                            f"datasets/{name}",
                            f"holds folders such as 10_{trigger}: 10 repeats of every image in it",
                        )
                    ]
                ),
                "",
                "[train]    # only what differs from the preset, under kohya's option names",
                *_length(preset),
                "",
                "[sample]   # pictures while it trains",
                *_prompts(preset),
            ]
        )
        + "\n"
    )


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    """`key = "value"    # comment`, in columns."""
    key_width = max(len(key) for key, _, _ in rows)
    said = [(f"{key.ljust(key_width)} = {told(value)}", comment) for key, value, comment in rows]
    width = max(len(text) for text, _ in said)
    return [f"{text.ljust(width)}    # {comment}" if comment else text for text, comment in said]


def _weights(family: str) -> list[str]:
    return _aligned(
        [
            (("" if weight.required else "# ") + weight.key, weight.path, weight.what)
            for weight in FAMILIES[family].weights
        ]
    )


def _length(preset: Preset) -> list[str]:
    """The one number most people change first, as a comment with the preset's own value."""
    said = {
        key: value
        for page in _pages(preset)
        for key, value in page.sections.get("train", {}).items()
    }
    return [
        f"# {key} = {said[key]}    # more when underfit, fewer when overfit"
        for key in ("max_train_epochs", "max_train_steps")
        if key in said
    ]


def _prompts(preset: Preset) -> list[str]:
    """The preset's own prompts, which know what kind of picture it is for."""
    said = [page.sections.get("sample", {}).get("prompts") for page in _pages(preset)]
    prompts = next(
        (prompts for prompts in reversed(said) if prompts), ["{trigger}, portrait, soft light"]
    )
    return ["prompts = [", *(f"  {told(prompt)}," for prompt in prompts), "]"]


def _pages(preset: Preset) -> list[Preset]:
    return [page for page in (preset.base, preset) if page]
