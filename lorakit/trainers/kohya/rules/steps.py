"""How long, how often, how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from lorakit.catalogue.bounds import BOUNDS
from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Rule, warning

# What the scripts read in some runs only; elsewhere any number may stand.
READ_WHERE: Mapping[str, Callable[[Case], bool]] = {
    "vae_batch_size": lambda c: c.caches_latents,
    "clip_skip": lambda c: c.family == "sd15",
    "max_train_steps": lambda c: not c.is_set("max_train_epochs"),
}


def bounds(case: Case) -> Iterator[Fault]:
    for bound in BOUNDS:
        for key in bound.options:
            said = case.value(key) if case.is_set(key) else None
            numbers = said if isinstance(said, list) else [said]
            wrong = [one for one in numbers if is_number(one) and not bound.holds(one)]
            if wrong and (key not in READ_WHERE or READ_WHERE[key](case)):
                what, hint = f"{wrong[0]}: {bound.why}.", f"Write {bound.range}, or remove {key}."
                yield case.fault(key, what, hint, bound.rule)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def files_not_steps(case: Case) -> bool:
    every, last = case.number("save_every_n_steps"), case.number("save_last_n_steps")
    return every > 0 and case.is_set("save_last_n_steps") and last < every


RULES = (
    warning(
        "steps-and-epochs",
        "max_train_steps",
        lambda c: c.is_set("max_train_steps") and c.is_set("max_train_epochs"),
        "is overridden by max_train_epochs.",
        "Keep one.",
    ),
    warning(
        "ratio-and-epochs",
        "save_every_n_epochs",
        lambda c: c.number("save_n_epoch_ratio") > 0 and c.is_set("save_every_n_epochs"),
        "is overridden by save_n_epoch_ratio.",
        "Keep one.",
    ),
    warning(
        "last-n-steps",
        "save_last_n_steps",
        files_not_steps,
        "{value} is a number of steps, not of files: only the newest checkpoint would stay.",
        "Write a multiple of save_every_n_steps.",
    ),
    Rule(
        "resume-accumulation",
        "skip_until_initial_step",
        lambda c: c.flag("skip_until_initial_step") and c.number("gradient_accumulation_steps") > 1,
        "overshoots with gradient accumulation and may train nothing.",
        "Use `lorakit resume`.",
    ),
    bounds,
)
