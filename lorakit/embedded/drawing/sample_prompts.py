"""Sample prompts, in the one of kohya's formats that plans write."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.options import Option, options
from lorakit.errors import RecipeError, did_you_mean, refused
from lorakit.recipe.values import fit
from lorakit.trainers.prompt_line import IN_PROMPT
from lorakit.user_files import Missing, Unreadable


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


OPTIONS = {
    "prompt": Option("prompt", "str"),
    **{
        name: Option(name, kind.__name__)
        for name, kind in IN_PROMPT.values()
        if name in Prompt.__dataclass_fields__
    },
    "sample_sampler": options("embedded", "train_network.py")["sample_sampler"],
}


def read_prompts(path: Path) -> list[Prompt]:
    try:
        shared = dict(tomllib.read(path)["prompt"])
        subsets = shared.pop("subset", [{}])
        return [_prompt({**shared, **subset}, str(path)) for subset in subsets]
    except Missing as error:
        raise RecipeError(f"sample_prompts: {path} does not exist.") from error
    except Unreadable as error:
        raise RecipeError(f"sample_prompts: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"sample_prompts: {path}: {error}") from error


def _prompt(table: Mapping[str, Any], where: str) -> Prompt:
    found = {}
    for key, value in table.items():
        if key not in OPTIONS:
            raise refused(f"{where} {key}", "is not known.", did_you_mean(key, OPTIONS))
        fitted = fit(OPTIONS[key], value)
        if fitted.problem:
            raise refused(f"{where} {key}", fitted.problem, fitted.hint)
        found[key] = fitted.value
    if "prompt" not in found:
        raise refused(where, "a prompt is missing.")
    prompt = Prompt(**found)
    steps = prompt.sample_steps
    if min(prompt.width, prompt.height) < 1 or (steps is not None and not 1 <= steps <= 1000):
        raise refused(where, "width and height must be at least 1, the steps 1 to 1000.")
    if prompt.seed is not None and prompt.seed < 0:  # as kohya takes it
        return replace(prompt, seed=None)
    return prompt
