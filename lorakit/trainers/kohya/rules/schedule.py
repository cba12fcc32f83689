"""Learning-rate schedules."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.kohya.rules.learning import optimizer
from lorakit.trainers.rule import Case, Rule, warning

SCHEDULERS = (
    *("linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau"),
    *("warmup_stable_decay", "piecewise_constant"),
)
CYCLIC = ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")


def scheduler(case: Case) -> str:
    return case.text("lr_scheduler") or "constant"


def scheduler_name(case: Case) -> Iterator[Fault]:
    name = scheduler(case)
    if name not in SCHEDULERS and not name.startswith("adafactor"):
        what = f"no schedule is called {name!r}; the script would find out after loading the model."
        hint = did_you_mean(name, SCHEDULERS) or f"Known: {', '.join(SCHEDULERS)}."
        yield case.fault("lr_scheduler", what, hint, "scheduler-unknown")


def share_of_run(case: Case) -> Iterator[Fault]:
    for key in ("lr_warmup_steps", "lr_decay_steps"):
        value = case.value(key)
        if isinstance(value, float) and value >= 1:
            what = (
                f"{value} with a decimal point is a share of the run: the rate would stay near 0."
            )
            yield case.fault(key, what, f"Write {key} = {value:.0f} for steps.", "warmup-share")
        elif case.number(key) < 0:
            yield case.fault(key, f"{value} is negative.", "Write 0 or more.", "warmup-share")


def free(case: Case) -> bool:
    return optimizer(case).endswith("schedulefree")


def warms_up(case: Case) -> bool:
    return case.flag("lr_warmup_steps") and not free(case)


RULES = (
    Rule(
        "warmup-constant",
        "lr_warmup_steps",
        lambda c: (
            warms_up(c)
            and scheduler(c) == "constant"
            and not c.flag("lr_scheduler_type")
            and optimizer(c) != "adafactor"
        ),
        "the constant schedule (the script's default) refuses a warm-up, after loading the model.",
        'Set lr_scheduler = "constant_with_warmup".',
    ),
    Rule(
        "warmup-foreign",
        "lr_warmup_steps",
        lambda c: warms_up(c) and c.flag("lr_scheduler_type"),
        "lr_scheduler_type refuses a warm-up.",
        "Remove lr_warmup_steps.",
    ),
    Rule(
        "min-lr-ratio",
        "lr_scheduler_min_lr_ratio",
        lambda c: (
            scheduler(c) == "cosine_with_min_lr" and c.value("lr_scheduler_min_lr_ratio") is None
        ),
        "cosine_with_min_lr needs it.",
        "Set lr_scheduler_min_lr_ratio = 0.1.",
    ),
    warning(
        "min-lr-idle",
        "lr_scheduler_min_lr_ratio",
        lambda c: (
            c.is_set("lr_scheduler_min_lr_ratio")
            and scheduler(c) not in {"cosine_with_min_lr", "warmup_stable_decay"}
        ),
        "is read by cosine_with_min_lr and warmup_stable_decay only.",
    ),
    Rule(
        "adafactor-schedule",
        "lr_scheduler",
        lambda c: scheduler(c).startswith("adafactor") and optimizer(c) != "adafactor",
        "the adafactor schedule belongs to the Adafactor optimiser.",
        'Set lr_scheduler = "cosine".',
    ),
    Rule(
        "piecewise-steps",
        "lr_scheduler_args",
        lambda c: (
            scheduler(c) == "piecewise_constant"
            and not any(w.startswith("step_rules=") for w in c.words("lr_scheduler_args"))
        ),
        "piecewise_constant needs step_rules.",
        """Set lr_scheduler_args = ["step_rules='1:500,0.1'"].""",
    ),
    Rule(
        "plateau",
        "lr_scheduler",
        lambda c: scheduler(c) == "reduce_lr_on_plateau",
        "cannot work here: the script never passes it the loss.",
        'Set lr_scheduler = "cosine".',
    ),
    warning(
        "restarts-idle",
        "lr_scheduler_num_cycles",
        lambda c: c.is_set("lr_scheduler_num_cycles") and scheduler(c) not in CYCLIC,
        "is not read by this schedule.",
        "cosine_with_restarts reads it.",
    ),
    warning(
        "decay-idle",
        "lr_decay_steps",
        lambda c: c.flag("lr_decay_steps") and scheduler(c) != "warmup_stable_decay",
        "is read by warmup_stable_decay only.",
    ),
    warning(
        "schedule-free",
        "lr_scheduler",
        lambda c: free(c) and (c.is_set("lr_scheduler") and scheduler(c) != "constant"),
        "{value} is ignored: a schedule-free optimiser needs none.",
        "Remove it.",
    ),
    scheduler_name,
    share_of_run,
)
