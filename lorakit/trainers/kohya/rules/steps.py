"""How long, how often, how many."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Rule

INTERVALS = (
    "save_every_n_epochs",
    "save_every_n_steps",
    "save_n_epoch_ratio",
    "validate_every_n_epochs",
    "validate_every_n_steps",
)
POSITIVE = (
    "max_train_steps",
    "max_train_epochs",
    "train_batch_size",
    "gradient_accumulation_steps",
)


def intervals(case: Case) -> Iterator[Fault]:
    for key in INTERVALS:
        if case.value(key) is not None and case.number(key) <= 0:
            yield Fault(
                case.where(key),
                f"{case.value(key)}: the script divides by it and ends with a ZeroDivisionError.",
                f"Write 1 or more, or remove {key}.",
                "interval-zero",
            )


def positives(case: Case) -> Iterator[Fault]:
    for key in POSITIVE:
        if case.said(key) and case.number(key) < 1:
            yield Fault(
                case.where(key),
                f"{case.value(key)}: nothing would be trained.",
                "Write 1 or more.",
                "count-positive",
            )


def files_not_steps(case: Case) -> bool:
    every, last = case.number("save_every_n_steps"), case.number("save_last_n_steps")
    return every > 0 and case.said("save_last_n_steps") and last < every


RULES = (
    Rule(
        "steps-unset",
        "max_train_steps",
        lambda c: not c.said("max_train_steps") and not c.said("max_train_epochs"),
        "unset: the script would take 1600 steps whatever the dataset.",
        "Set max_train_epochs or max_train_steps.",
    ),
    Rule(
        "steps-and-epochs",
        "max_train_steps",
        lambda c: c.said("max_train_steps") and c.said("max_train_epochs"),
        "is overridden by max_train_epochs.",
        "Keep one.",
        severity="warning",
    ),
    Rule(
        "ratio-and-epochs",
        "save_every_n_epochs",
        lambda c: c.said("save_n_epoch_ratio") and c.said("save_every_n_epochs"),
        "is overridden by save_n_epoch_ratio.",
        "Keep one.",
        severity="warning",
    ),
    Rule(
        "last-n-steps",
        "save_last_n_steps",
        files_not_steps,
        "{value} is a number of steps, not of files: only the newest checkpoint would stay.",
        "Write a multiple of save_every_n_steps.",
        severity="warning",
    ),
    Rule(
        "resume-accumulation",
        "skip_until_initial_step",
        lambda c: c.on("skip_until_initial_step") and c.number("gradient_accumulation_steps") > 1,
        "overshoots with gradient accumulation and may train nothing.",
        "Use `lorakit resume`.",
    ),
)
FINDERS = (intervals, positives)
