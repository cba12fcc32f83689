"""Sample prompts in kohya's three formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.catalogue import options as catalogue
from lorakit.embedded.data.values import WORDS, fits
from lorakit.errors import RecipeError, did_you_mean, refused
from lorakit.user_files import Missing, Unreadable, read_text

FLAGS = {
    "w": ("width", "int"),
    "h": ("height", "int"),
    "d": ("seed", "int"),
    "s": ("sample_steps", "int"),
    "l": ("scale", "number"),
    "g": ("guidance_scale", "number"),
    "n": ("negative_prompt", "str"),
    "ss": ("sample_sampler", "str"),
}
KINDS = {"prompt": "str", **dict(FLAGS.values())}
CASTS = {"int": int, "number": float, "str": str}
SAMPLERS = catalogue.options("embedded", "train_network.py")["sample_sampler"].choices


@dataclass(frozen=True)
class Prompt:
    prompt: str
    negative_prompt: str = ""
    width: int = 512
    height: int = 512
    sample_steps: int | None = None  # the family's default: 30, FLUX 20
    scale: float | None = None  # 7.5, FLUX 1.0
    guidance_scale: float = 3.5  # an input of FLUX dev
    seed: int | None = None
    sample_sampler: str | None = None


def read_prompts(path: Path) -> list[Prompt]:
    try:
        text = read_text(path)
        if path.suffix == ".txt":
            lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
            return [_from_line(line) for line in lines if line]
        if path.suffix == ".toml":
            shared = dict(tomllib.loads(text)["prompt"])
            subsets = shared.pop("subset", [{}])
            return [_from_table({**shared, **subset}, path) for subset in subsets]
        if path.suffix == ".json":
            return [
                _from_line(one) if isinstance(one, str) else _from_table(one, path)
                for one in json_text.loads(text)
            ]
    except Missing as error:
        raise RecipeError(f"sample_prompts: {path} does not exist.") from error
    except Unreadable as error:
        raise RecipeError(f"sample_prompts: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"sample_prompts: {path}: {error}") from error
    raise RecipeError(f"sample_prompts: {path} must end in .txt, .toml or .json.")


def _from_line(line: str) -> Prompt:
    """`a fox --w 512 --d 1 --n blurry`."""
    words, *options = line.split(" --")
    found: dict[str, Any] = {}
    for option in options:
        match = re.match(r"([a-z]+) (.+)", option, re.IGNORECASE)
        flag = FLAGS.get(match.group(1).lower()) if match else None
        if match is None or flag is None:
            raise refused(f"sample prompt {line!r}", f"--{option} is not known.")
        found[flag[0]] = CASTS[flag[1]](match.group(2).strip())
    return _checked(Prompt(words, **found), f"sample prompt {line!r}")


def _from_table(table: Mapping[str, Any], path: Path) -> Prompt:
    names = [field.name for field in fields(Prompt)]
    for key, value in table.items():
        if key not in names:
            raise refused(f"{path} {key}", "is not known.", did_you_mean(key, names))
        if not fits(KINDS[key], value):
            kind = WORDS["str" if KINDS[key] == "str" else "number"]
            raise refused(f"{path} {key}", f"{value!r} is not {kind}.")
    if "prompt" not in table:
        raise refused(str(path), "a prompt is missing.")
    return _checked(Prompt(**table), str(path))


def _checked(prompt: Prompt, where: str) -> Prompt:
    sampler, steps = prompt.sample_sampler, prompt.sample_steps
    if sampler is not None and sampler not in SAMPLERS:
        hint = did_you_mean(sampler, SAMPLERS) or f"There are: {', '.join(SAMPLERS)}."
        raise refused(f"{where} sample_sampler", f"{sampler!r} is not known.", hint)
    if min(prompt.width, prompt.height) < 1 or (steps is not None and not 1 <= steps <= 1000):
        raise refused(where, "width and height must be at least 1, the steps 1 to 1000.")
    if prompt.seed is not None and prompt.seed < 0:  # as kohya takes it
        return replace(prompt, seed=None)
    return prompt
