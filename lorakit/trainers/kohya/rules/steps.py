"""How long, how often, how many."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Rule, warning

INTERVALS = (
    *("save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"),
    *("validate_every_n_epochs", "validate_every_n_steps"),
)
POSITIVE = (
    "max_train_steps",
    "max_train_epochs",
    "train_batch_size",
    "gradient_accumulation_steps",
)


def intervals(case: Case) -> Iterator[Fault]:
    for key in INTERVALS:
        value = case.value(key)
        if value is not None and case.number(key) <= 0:
            what = f"{value}: the script divides by it and ends with a ZeroDivisionError."
            yield case.fault(key, what, f"Write 1 or more, or remove {key}.", "interval-zero")


def positives(case: Case) -> Iterator[Fault]:
    for key in POSITIVE:
        if case.is_set(key) and case.number(key) < 1:
            what = f"{case.value(key)}: nothing would be trained."
            yield case.fault(key, what, "Write 1 or more.", "count-positive")


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
        lambda c: c.is_set("save_n_epoch_ratio") and c.is_set("save_every_n_epochs"),
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
)
FINDERS = (intervals, positives)
