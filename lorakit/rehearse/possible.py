"""The nearest that this machine can do to a recipe for another, for a rehearsal alone."""

import re
from dataclasses import replace
from typing import Any

from lorakit.machine import Machine
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.recipe.options import Options

SOURCE = "rehearsal"  # of every setting that a rehearsal changes
SWITCHES = ("fp8_base", "fp8_base_unet", "xformers", "use_8bit_adam")
WITHOUT_CARD = ("AdamW", "SGDNesterov")  # what torch has of the optimisers that need a card


def possible_here(resolved: Resolved, machine: Machine) -> tuple[Resolved, str]:
    """As this machine can train it, and one line about what was replaced; "" for a CUDA card."""
    options = Options(resolved)
    changes = {} if machine.accelerator == "cuda" else _changes(options, machine.accelerator)
    if not changes:
        return resolved, ""
    told = [
        f"{key} = {_word(options.value(key))} by {_word(new)}"
        for key, new in changes.items()
        if key != "sdpa"
    ]

    def over(train: Section) -> Section:
        return {**train, **{key: Setting(new, SOURCE) for key, new in changes.items()}}

    stages = tuple(replace(stage, train=over(stage.train)) for stage in resolved.stages)
    line = f"Replaced for this rehearsal alone, as this machine cannot do it: {', '.join(told)}."
    return replace(resolved, train=over(resolved.train), stages=stages), line


def _changes(options: Options, device: str) -> dict[str, Any]:
    changes: dict[str, Any] = {key: False for key in SWITCHES if options.flag(key)}
    if "xformers" in changes:
        changes["sdpa"] = True
    if options.integer("blocks_to_swap"):
        changes["blocks_to_swap"] = 0
    optimiser = options.text("optimizer_type")
    if re.search("8bit|^paged", optimiser, re.IGNORECASE):
        plain = re.sub("^Paged|(8|32)bit$", "", optimiser, flags=re.IGNORECASE)
        changes["optimizer_type"] = plain if plain in WITHOUT_CARD else WITHOUT_CARD[0]
    if options.precision == "fp16" or (options.precision == "bf16" and device == "mps"):
        changes["mixed_precision"] = "bf16" if device == "cpu" else "no"
        changes |= {key: False for key in ("full_fp16", "full_bf16") if options.flag(key)}
    return changes


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
