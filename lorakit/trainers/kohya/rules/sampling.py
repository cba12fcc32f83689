"""Sample pictures while training."""

from __future__ import annotations

from lorakit.trainers.rule import Case, Rule, warning

WHEN = ("every_n_epochs", "every_n_steps", "at_first")


def asked(case: Case, when: str) -> bool:
    return bool(case.said("sample", when) or case.flag(f"sample_{when}"))


def prompts(case: Case) -> bool:
    return bool(case.said("sample", "prompts") or case.flag("sample_prompts"))


RULES = (
    Rule(
        "sample-without-prompts",
        "sample_prompts",
        lambda c: any(asked(c, when) for when in WHEN) and not prompts(c),
        "samples are asked for, but there is no prompt: the script fails at the first sampling"
        " point.",
        "Write prompts in [sample].",
    ),
    warning(
        "sample-never",
        "sample_prompts",
        lambda c: prompts(c) and not any(asked(c, when) for when in WHEN),
        "there are prompts, but nothing says when to sample.",
        "Set every_n_epochs = 1 in [sample].",
    ),
    warning(
        "sample-both",
        "sample_every_n_steps",
        lambda c: asked(c, "every_n_steps") and asked(c, "every_n_epochs"),
        "is ignored beside sample_every_n_epochs.",
        "Keep one.",
    ),
    warning(
        "sample-interval",
        "sample_every_n_epochs",
        lambda c: any(
            isinstance(value, int) and value <= 0
            for when in WHEN[:2]
            for value in (c.said("sample", when), c.value(f"sample_{when}"))
        ),
        "an interval of 0 or less switches the samples off.",
        "Write 1 or more, or remove it.",
    ),
)
