"""Optimisers, learning rates and their schedules."""

from collections.abc import Iterator

from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.optimisers import SCHEDULES, optimizer_of
from lorakit.trainers.rule import Case, Finder, Rule, warning
from lorakit.trainers.signatures import read

SCHEDULERS = (*SCHEDULES, "reduce_lr_on_plateau")
CYCLIC = ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")
NAMING = ("use_8bit_adam", "use_lion_optimizer", "optimizer_type")


def finds_rate(case: Case) -> bool:
    name = optimizer_of(case).rpartition(".")[2]
    return name.startswith(("dadapt", "prodigy"))


def arguments(case: Case) -> Iterator[Fault]:
    for option in ("optimizer_args", "lr_scheduler_args"):
        for word in case.words(option):
            if not read(word)[0]:
                what = f'"{word}" cannot be read: it must be one name=value, as Python writes it.'
                yield case.fault(option, what, respelt(word), "args-literal")


def respelt(word: str) -> str:
    key, _, text = (part.strip() for part in word.partition("="))
    quoted = f"'{text}'" if text.isidentifier() else text
    right = {"true": "True", "false": "False", "none": "None"}.get(text.lower(), quoted)
    if read(f"{key}={right}")[0]:
        return f'Write "{key}={right}".'
    return 'For example "weight_decay=0.01".'


def zero(case: Case, key: str) -> bool:
    value = case.value("learning_rate" if case.value(key) is None else key)
    return value == 0 or (isinstance(value, (list, tuple)) and bool(value) and not any(value))


def nothing_learns(case: Case) -> bool:
    unet = zero(case, "unet_lr") or case.flag("network_train_text_encoder_only")
    text = zero(case, "text_encoder_lr") or case.flag("network_train_unet_only")
    return unet and text


def scheduler(case: Case) -> str:
    return case.text("lr_scheduler") or "constant"


def scheduler_name(case: Case) -> Iterator[Fault]:
    name = scheduler(case)
    if name not in SCHEDULERS and not name.startswith("adafactor"):
        what = f"no schedule is called {name!r}; the script would find out after loading the model."
        hint = did_you_mean(name, SCHEDULERS) or f"Known: {', '.join(SCHEDULERS)}."
        yield case.fault("lr_scheduler", what, hint, "scheduler-unknown")


def free(case: Case) -> bool:
    return optimizer_of(case).endswith("schedulefree")


def warms_up(case: Case) -> bool:
    return case.flag("lr_warmup_steps") and not free(case)


def read_by(name: str, key: str, *schedules: str) -> Rule:
    return warning(
        name,
        key,
        lambda c: c.asks(key) and scheduler(c) not in schedules,
        f"is read by {', '.join(schedules)} only.",
    )


RULES: tuple[Finder, ...] = (
    read_by(
        "min-lr-idle", "lr_scheduler_min_lr_ratio", "cosine_with_min_lr", "warmup_stable_decay"
    ),
    read_by("restarts-idle", "lr_scheduler_num_cycles", *CYCLIC),
    read_by("decay-idle", "lr_decay_steps", "warmup_stable_decay"),
    Rule(
        "optimizer-twice",
        "optimizer_type",
        lambda c: sum(map(c.flag, NAMING)) > 1,
        "stands beside use_8bit_adam or use_lion_optimizer.",
        "Keep optimizer_type alone.",
    ),
    Rule(
        "optimizer-8bit-device",
        "optimizer_type",
        lambda c: not c.cuda and ("8bit" in optimizer_of(c) or optimizer_of(c).startswith("paged")),
        "{value} needs bitsandbytes and a CUDA card; this machine has none.",
        'Set optimizer_type = "AdamW".',
    ),
    warning(
        "optimizer-dadapt",
        "optimizer_type",
        lambda c: optimizer_of(c).startswith("dadapt"),
        "{value} needs the package dadaptation, which is not among sd-scripts' requirements.",
        "Prodigy is, and does the same.",
    ),
    warning(
        "optimizer-own-rate",
        "learning_rate",
        lambda c: finds_rate(c) and max(c.number("learning_rate"), c.number("unet_lr")) <= 0.1,
        "{value}: this optimiser finds its own rate and wants about 1.0 here.",
        "Set learning_rate = 1.0.",
    ),
    Rule(
        "fused-adafactor",
        "fused_backward_pass",
        lambda c: c.flag("fused_backward_pass") and optimizer_of(c) != "adafactor",
        "works with Adafactor only.",
        'Set optimizer_type = "Adafactor", or remove it.',
    ),
    Rule(
        "fused-accumulation",
        "fused_backward_pass",
        lambda c: c.flag("fused_backward_pass") and c.number("gradient_accumulation_steps") > 1,
        "cannot be used with gradient_accumulation_steps.",
        "Set gradient_accumulation_steps = 1.",
    ),
    Rule(
        "adafactor-warmup",
        "lr_warmup_steps",
        lambda c: (
            optimizer_of(c) == "adafactor"
            and bool(dict(map(read, c.words("optimizer_args"))).get("relative_step", True))
            and c.flag("lr_warmup_steps")
        ),
        "Adafactor with relative_step has its own schedule; the script ends with a ValueError after"
        " loading the model.",
        'Remove lr_warmup_steps, or set optimizer_args = ["relative_step=False",'
        ' "scale_parameter=False", "warmup_init=False"].',
    ),
    Rule(
        "rate-zero",
        "learning_rate",
        nothing_learns,
        "nothing would learn: every rate is 0 or its part is not trained.",
        "Set a rate for the part that trains.",
    ),
    warning(
        "text-rate-unused",
        "text_encoder_lr",
        lambda c: (
            c.is_set("text_encoder_lr")
            and not zero(c, "text_encoder_lr")
            and c.flag("network_train_unet_only")
        ),
        "is unused: network_train_unet_only leaves the text encoder alone.",
        "Remove one of the two.",
    ),
    warning(
        "text-rate-first",
        "text_encoder_lr",
        lambda c: (
            isinstance(c.value("text_encoder_lr"), (list, tuple))
            and len(set(c.value("text_encoder_lr"))) > 1
        ),
        "only the first of several rates is read by networks.lora.",
        "Write one rate.",
        families=("sd15", "sdxl"),
    ),
    arguments,
    Rule(
        "warmup-constant",
        "lr_warmup_steps",
        lambda c: (
            warms_up(c)
            and scheduler(c) == "constant"
            and not c.flag("lr_scheduler_type")
            and optimizer_of(c) != "adafactor"
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
        "adafactor-schedule",
        "lr_scheduler",
        lambda c: scheduler(c).startswith("adafactor") and optimizer_of(c) != "adafactor",
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
    warning(
        "schedule-free",
        "lr_scheduler",
        lambda c: free(c) and (c.is_set("lr_scheduler") and scheduler(c) != "constant"),
        "{value} is ignored: a schedule-free optimiser needs none.",
        "Remove it.",
    ),
    scheduler_name,
)
