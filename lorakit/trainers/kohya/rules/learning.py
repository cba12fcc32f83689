"""Optimisers and learning rates."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.rule import Case, Rule

# Names the scripts compare without regard to case, and torch.optim's own, which must be spelt
# exactly.
BUILT_IN = (
    "AdamW",
    "AdamW8bit",
    "PagedAdamW8bit",
    "PagedAdamW",
    "PagedAdamW32bit",
    "Lion",
    "Lion8bit",
    "PagedLion8bit",
    "SGDNesterov",
    "SGDNesterov8bit",
    "DAdaptation",
    "DAdaptAdamPreprint",
    "DAdaptAdaGrad",
    "DAdaptAdam",
    "DAdaptAdan",
    "DAdaptAdanIP",
    "DAdaptLion",
    "DAdaptSGD",
    "Prodigy",
    "Adafactor",
    "RAdamScheduleFree",
    "AdamWScheduleFree",
    "SGDScheduleFree",
)
TORCH = (
    "Adam",
    "Adamax",
    "NAdam",
    "RAdam",
    "SGD",
    "ASGD",
    "RMSprop",
    "Rprop",
    "Adagrad",
    "Adadelta",
    "LBFGS",
    "SparseAdam",
    "Muon",
)
LOWER = {name.lower() for name in BUILT_IN}


def optimizer(case: Case) -> str:
    if case.on("use_8bit_adam"):
        return "adamw8bit"
    if case.on("use_lion_optimizer"):
        return "lion"
    return str(case.value("optimizer_type") or "AdamW").lower()


def named(case: Case) -> int:
    """How many options name an optimiser."""
    return sum(case.on(key) for key in ("use_8bit_adam", "use_lion_optimizer", "optimizer_type"))


def finds_rate(case: Case) -> bool:
    return optimizer(case).startswith("dadapt") or optimizer(case) == "prodigy"


def optimizer_options(case: Case) -> dict[str, object]:
    """optimizer_args as the script reads them; what cannot be read is left out (and found by
    `arguments`).
    """
    return {key: value for key, value in map(read, case.words("optimizer_args")) if key}


def read(word: str) -> tuple[str, object]:
    key, _, text = word.partition("=")
    try:
        return (
            ("", None)
            if not key or "=" in text or key != key.strip()
            else (key, ast.literal_eval(text))
        )
    except (ValueError, SyntaxError):
        return "", None


def arguments(case: Case) -> Iterator[Fault]:
    for option in ("optimizer_args", "lr_scheduler_args"):
        for word in case.words(option):
            if not read(word)[0]:
                yield Fault(
                    case.where(option),
                    f'"{word}" cannot be read: it must be one name=value, value as Python'
                    " writes it.",
                    respelt(word),
                    "args-literal",
                )


def respelt(word: str) -> str:
    key, _, text = word.partition("=")
    key, text = key.strip(), text.strip()
    right = {"true": "True", "false": "False", "none": "None"}.get(
        text.lower(), f"'{text}'" if text.isidentifier() else text
    )
    return (
        f'Write "{key}={right}".'
        if read(f"{key}={right}")[0]
        else 'For example "weight_decay=0.01".'
    )


def optimizer_name(case: Case) -> Iterator[Fault]:
    said = case.value("optimizer_type")
    if not said or str(said).lower() in LOWER or said in TORCH or "." in str(said):
        return
    yield Fault(
        case.where("optimizer_type"),
        f"no optimiser is called {said!r}; the script would find out after loading the model.",
        did_you_mean(str(said), [*BUILT_IN, *TORCH]),
        "optimizer-unknown",
    )


def zero(case: Case, key: str) -> bool:
    value = case.value(key) if case.value(key) is not None else case.value("learning_rate")
    return value == 0 or (isinstance(value, (list, tuple)) and bool(value) and not any(value))


def nothing_learns(case: Case) -> bool:
    unet = zero(case, "unet_lr") or case.on("network_train_text_encoder_only")
    text = zero(case, "text_encoder_lr") or case.on("network_train_unet_only")
    return unet and text


RULES = (
    Rule(
        "optimizer-twice",
        "optimizer_type",
        lambda c: named(c) > 1,
        "stands beside use_8bit_adam or use_lion_optimizer.",
        "Keep optimizer_type alone.",
    ),
    Rule(
        "optimizer-8bit-device",
        "optimizer_type",
        lambda c: not c.cuda and ("8bit" in optimizer(c) or optimizer(c).startswith("paged")),
        "{value} needs bitsandbytes and a CUDA card; this machine has none.",
        'Set optimizer_type = "AdamW".',
    ),
    Rule(
        "optimizer-dadapt",
        "optimizer_type",
        lambda c: optimizer(c).startswith("dadapt"),
        "{value} needs the package dadaptation, which is not among sd-scripts' requirements.",
        "Prodigy is, and does the same.",
        severity="warning",
    ),
    Rule(
        "optimizer-own-rate",
        "learning_rate",
        lambda c: finds_rate(c) and max(c.number("learning_rate"), c.number("unet_lr")) <= 0.1,
        "{value}: this optimiser finds its own rate and wants about 1.0 here.",
        "Set learning_rate = 1.0.",
        severity="warning",
    ),
    Rule(
        "fused-adafactor",
        "fused_backward_pass",
        lambda c: c.on("fused_backward_pass") and optimizer(c) != "adafactor",
        "works with Adafactor only.",
        'Set optimizer_type = "Adafactor", or remove it.',
    ),
    Rule(
        "fused-accumulation",
        "fused_backward_pass",
        lambda c: c.on("fused_backward_pass") and c.number("gradient_accumulation_steps") > 1,
        "cannot be used with gradient_accumulation_steps.",
        "Set gradient_accumulation_steps = 1.",
    ),
    Rule(
        "adafactor-warmup",
        "lr_warmup_steps",
        lambda c: (
            optimizer(c) == "adafactor"
            and bool(optimizer_options(c).get("relative_step", True))
            and c.on("lr_warmup_steps")
        ),
        "Adafactor with relative_step has its own schedule; the script ends with a ValueError after"
        " loading the model.",
        'Remove lr_warmup_steps, or set optimizer_args = ["relative_step=False",'
        ' "scale_parameter=False", "warmup_init=False"].',
    ),
    Rule(
        "rate-unset",
        "learning_rate",
        lambda c: not c.said("learning_rate") and not c.said("unet_lr"),
        "unset: the script's own {value} teaches next to nothing.",
        "Set learning_rate, e.g. 1e-4.",
    ),
    Rule(
        "rate-zero",
        "learning_rate",
        nothing_learns,
        "nothing would learn: every rate is 0 or its part is not trained.",
        "Set a rate for the part that trains.",
    ),
    Rule(
        "train-only-both",
        "network_train_unet_only",
        lambda c: c.on("network_train_unet_only") and c.on("network_train_text_encoder_only"),
        "contradicts network_train_text_encoder_only.",
        "Keep one.",
    ),
    Rule(
        "text-rate-unused",
        "text_encoder_lr",
        lambda c: (
            c.said("text_encoder_lr")
            and not zero(c, "text_encoder_lr")
            and c.on("network_train_unet_only")
        ),
        "is unused: network_train_unet_only leaves the text encoder alone.",
        "Remove one of the two.",
        severity="warning",
    ),
    Rule(
        "text-rate-first",
        "text_encoder_lr",
        lambda c: (
            isinstance(c.value("text_encoder_lr"), (list, tuple))
            and len(set(c.value("text_encoder_lr"))) > 1
        ),
        "only the first of several rates is read by networks.lora.",
        "Write one rate.",
        families=("sd15", "sdxl"),
        severity="warning",
    ),
    Rule(
        "clip-rate-unset",
        "text_encoder_lr",
        lambda c: not c.on("network_train_unet_only") and not c.said("text_encoder_lr"),
        "unset: CLIP-L is trained too, at the transformer's own rate, which is far too high"
        " for it.",
        "Set network_train_unet_only = true, or text_encoder_lr = 5e-5.",
        families=("flux",),
        severity="warning",
    ),
)
FINDERS = (arguments, optimizer_name)
