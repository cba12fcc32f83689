"""The text of a new recipe, with a word on what one may want to change; or another's, adapted."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.families import FAMILIES
from lorakit.recipe.document import read_document, with_values
from lorakit.recipe.model import Resolved
from lorakit.recipe.presets import Preset
from lorakit.toml_text import key_text, value_text

HELD_OUT = "# validation_split = 0.15    # not trained on; lorakit judge ranks by three or more"
NOTHING_BESIDE = "cache_latents_to_disk = false    # nothing is made beside the pictures"
BESIDE = ".recipe.schema.json"  # for editors: what a recipe may say; its name beside the recipes
DIRECTIVE = f"#:schema ./{BESIDE}"


def schema_file(name: str) -> Path:
    """`recipe` or `preset`, as tools/make_schema.py writes it and the wheel ships it."""
    return Path(__file__).with_name(f"{name}.schema.json")


def recipe_like(other: Resolved, name: str, trigger: str) -> tuple[str, list[str]]:
    """The recipe with another name, trigger and dataset, and the lines that still speak of the
    other one. Whatever else it says stays, without the remarks above its first line; prompts that
    spell the old trigger out get the new.
    """
    document = read_document(other.file, other.file.name)
    wanted = {("name",): name, ("trigger",): trigger, ("dataset", "path"): f"datasets/{name}"}
    lines = with_values(document, wanted).splitlines()
    first = next((at for at, line in enumerate(lines) if line and line[0] != "#"), 0)
    lines = [DIRECTIVE, f"# As recipes/{other.file.name}, for {name}.", *lines[first:]]
    lines = _in_prompts(lines, other.trigger, trigger)
    return "\n".join(lines) + "\n", _mentions(lines, other, document.data)


def _in_prompts(lines: list[str], old: str, new: str) -> list[str]:
    """From [sample] to the next section."""
    found, inside = [], False
    for line in lines:
        inside = line.startswith("[sample]") or (inside and not re.match(r"\[\w", line))
        whole = rf"(?<!\w){re.escape(old)}(?!\w)"
        found.append(re.sub(whole, lambda _: new, line) if inside and old else line)
    return found


def _mentions(lines: list[str], other: Resolved, said: Mapping[str, Any]) -> list[str]:
    words = "|".join(re.escape(word) for word in (other.name, other.trigger) if word)
    about_them = "|".join(rf"^\[?{key}\b" for key in ("subject", "notes") if key in said)
    whole = rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])"
    found = re.compile(f"{whole}|{about_them}" if about_them else whole)
    return [
        f"  {number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if number > 2 and found.search(line)
    ]


def recipe_text(
    name: str,
    preset: Preset,
    trigger: str,
    album: Mapping[str, str] = MappingProxyType({}),
    flat: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """`album`: what [dataset] says of pictures that stay where they lie; `flat`: the repeats of
    its folder, by name, where that itself is the one subset.
    """
    title = preset.title or preset.name
    family = FAMILIES[preset.family].by(preset.trainer)
    head = [
        ("preset", preset.name, ""),
        ("name", name, ""),
        ("trigger", trigger, "first in every caption and prompt"),
    ]
    train = preset.said("train")
    weights = [
        (("" if needed else "# ") + weight.key, weight.path, weight.what)
        for weight in family.weights
        for option, value in [weight.idle_with]
        for needed in [weight.required and (not option or train.get(option) != value)]
    ]
    folders = f"holds folders such as 10_{trigger}: 10 repeats of every image in it"
    places = [(key, path, "") for key, path in album.items()]
    lies = "    # all pictures lie in this folder itself"
    subsets = [
        line
        for folder, repeats in flat.items()
        for line in ("", f"[dataset.subset.{key_text(folder)}]{lies}", f"num_repeats = {repeats}")
    ]
    lines = [
        DIRECTIVE,
        f"# {title}. `lorakit presets show {preset.name}` says where its numbers come from.",
        *_aligned(head),
        "",
        "[model]    # paths start at the project's folder; hf:owner/repo/file@revision is fetched",
        *_aligned(weights),
        "",
        "[dataset]",
        *_aligned(places or [("path", f"datasets/{name}", folders)]),
        *subsets,
        "",
        "[train]    # only what differs from the preset, under kohya's option names",
        *_length(preset),
        *([NOTHING_BESIDE] if album and train.get("cache_latents_to_disk") else []),
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
    """What most people change first, as comments; the length with the preset's own value."""
    said = preset.said("train")
    lines = [
        f"# {key} = {said[key]}    # more when underfit, fewer when overfit"
        for key in ("max_train_epochs", "max_train_steps")
        if key in said
    ]
    return lines if "validation_split" in said else [*lines, HELD_OUT]


def _prompts(preset: Preset) -> list[str]:
    """The preset's own prompts, which know what kind of picture it is for."""
    prompts = preset.said("sample").get("prompts") or ["{trigger}, portrait, soft light"]
    return ["prompts = [", *(f"  {value_text(prompt)}," for prompt in prompts), "]"]
