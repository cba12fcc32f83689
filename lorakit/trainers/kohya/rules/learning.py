"""Optimisers, learning rates and their schedules."""

from collections.abc import Iterator

from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.optimisers import SCHEDULES, optimizer_of
from lorakit.trainers.rule import Case, Finder
from lorakit.trainers.signatures import read

SCHEDULERS = (*SCHEDULES, "reduce_lr_on_plateau")
CYCLIC = ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")
IDLE_UNLESS = {  # the schedules that read an option
    "min-lr-idle": ("lr_scheduler_min_lr_ratio", ("cosine_with_min_lr", "warmup_stable_decay")),
    "restarts-idle": ("lr_scheduler_num_cycles", CYCLIC),
    "decay-idle": ("lr_decay_steps", ("warmup_stable_decay",)),
}
NAMING = ("use_8bit_adam", "use_lion_optimizer", "optimizer_type")


def idle(case: Case) -> Iterator[Fault]:
    for rule, (key, readers) in IDLE_UNLESS.items():
        if case.asks(key) and scheduler(case) not in readers:
            yield case.warning(key, f"is read by {', '.join(readers)} only.", "", rule)


def optimizers(case: Case) -> Iterator[Fault]:
    name, said = optimizer_of(case), case.value("optimizer_type")
    if sum(map(case.flag, NAMING)) > 1:
        what = "stands beside use_8bit_adam or use_lion_optimizer."
        yield case.fault("optimizer_type", what, "Keep optimizer_type alone.", "optimizer-twice")
    if not case.cuda and ("8bit" in name or name.startswith("paged")):
        what = f"{said} needs bitsandbytes and a CUDA card; this machine has none."
        hint = 'Set optimizer_type = "AdamW".'
        yield case.fault("optimizer_type", what, hint, "optimizer-8bit-device")
    if name.startswith("dadapt"):
        what = f"{said} needs the package dadaptation, which is not among sd-scripts' requirements."
        hint = "Prodigy is, and does the same."
        yield case.warning("optimizer_type", what, hint, "optimizer-dadapt")
    finds_rate = name.rpartition(".")[2].startswith(("dadapt", "prodigy"))
    if finds_rate and max(case.number("learning_rate"), case.number("unet_lr")) <= 0.1:
        what = "this optimiser finds its own rate and wants about 1.0 here."
        what, hint = f"{case.value('learning_rate')}: {what}", "Set learning_rate = 1.0."
        yield case.warning("learning_rate", what, hint, "optimizer-own-rate")
    fused = case.flag("fused_backward_pass")
    if fused and name != "adafactor":
        hint = 'Set optimizer_type = "Adafactor", or remove it.'
        what = "works with Adafactor only."
        yield case.fault("fused_backward_pass", what, hint, "fused-adafactor")
    if fused and case.number("gradient_accumulation_steps") > 1:
        what = "cannot be used with gradient_accumulation_steps."
        hint = "Set gradient_accumulation_steps = 1."
        yield case.fault("fused_backward_pass", what, hint, "fused-accumulation")
    relative = dict(map(read, case.words("optimizer_args"))).get("relative_step", True)
    if name == "adafactor" and relative and case.flag("lr_warmup_steps"):
        what = (
            "Adafactor with relative_step has its own schedule; the script ends with a ValueError"
        )
        hint = 'Remove lr_warmup_steps, or set optimizer_args = ["relative_step=False",'
        hint += ' "scale_parameter=False", "warmup_init=False"].'
        what = f"{what} after loading the model."
        yield case.fault("lr_warmup_steps", what, hint, "adafactor-warmup")


def rates(case: Case) -> Iterator[Fault]:
    unet_only = case.flag("network_train_unet_only")
    text_only = case.flag("network_train_text_encoder_only")
    if not case.is_set("learning_rate") and not case.is_set("unet_lr"):
        own = case.value("learning_rate")
        what = f"unset: the script's own {own} teaches next to nothing."
        yield case.fault("learning_rate", what, "Set learning_rate, e.g. 1e-4.", "rate-unset")
    if (zero(case, "unet_lr") or text_only) and (zero(case, "text_encoder_lr") or unet_only):
        what = "nothing would learn: every rate is 0 or its part is not trained."
        yield case.fault("learning_rate", what, "Set a rate for the part that trains.", "rate-zero")
    said, of_text = case.is_set("text_encoder_lr"), case.value("text_encoder_lr")
    if said and not zero(case, "text_encoder_lr") and unet_only:
        what = "is unused: network_train_unet_only leaves the text encoder alone."
        yield case.warning("text_encoder_lr", what, "Remove one of the two.", "text-rate-unused")
    several = case.family in {"sd15", "sdxl"} and isinstance(of_text, (list, tuple))
    if several and len(set(of_text)) > 1:
        what = "only the first of several rates is read by networks.lora."
        yield case.warning("text_encoder_lr", what, "Write one rate.", "text-rate-first")
    if case.family == "flux" and not unet_only and not said:
        what = "unset: CLIP-L is trained too, at the transformer's own rate, which is far too high"
        hint = "Set network_train_unet_only = true, or text_encoder_lr = 5e-5."
        yield case.warning("text_encoder_lr", f"{what} for it.", hint, "clip-rate-unset")


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


def scheduler(case: Case) -> str:
    return case.text("lr_scheduler") or "constant"


def schedules(case: Case) -> Iterator[Fault]:
    name, optimizer = scheduler(case), optimizer_of(case)
    free, foreign = optimizer.endswith("schedulefree"), case.flag("lr_scheduler_type")
    warms_up = case.flag("lr_warmup_steps") and not free
    if warms_up and name == "constant" and not foreign and optimizer != "adafactor":
        what = "the constant schedule (the script's default) refuses a warm-up, after loading the"
        hint = 'Set lr_scheduler = "constant_with_warmup".'
        yield case.fault("lr_warmup_steps", f"{what} model.", hint, "warmup-constant")
    if warms_up and foreign:
        what = "lr_scheduler_type refuses a warm-up."
        yield case.fault("lr_warmup_steps", what, "Remove lr_warmup_steps.", "warmup-foreign")
    ratio = "lr_scheduler_min_lr_ratio"
    if name == "cosine_with_min_lr" and case.value(ratio) is None:
        what, hint = "cosine_with_min_lr needs it.", f"Set {ratio} = 0.1."
        yield case.fault(ratio, what, hint, "min-lr-ratio")
    if name.startswith("adafactor") and optimizer != "adafactor":
        what = "the adafactor schedule belongs to the Adafactor optimiser."
        yield case.fault("lr_scheduler", what, 'Set lr_scheduler = "cosine".', "adafactor-schedule")
    steps = any(word.startswith("step_rules=") for word in case.words("lr_scheduler_args"))
    if name == "piecewise_constant" and not steps:
        what = "piecewise_constant needs step_rules."
        hint = """Set lr_scheduler_args = ["step_rules='1:500,0.1'"]."""
        yield case.fault("lr_scheduler_args", what, hint, "piecewise-steps")
    if name == "reduce_lr_on_plateau":
        what = "cannot work here: the script never passes it the loss."
        yield case.fault("lr_scheduler", what, 'Set lr_scheduler = "cosine".', "plateau")
    if free and case.is_set("lr_scheduler") and name != "constant":
        what = f"{case.value('lr_scheduler')} is ignored: a schedule-free optimiser needs none."
        yield case.warning("lr_scheduler", what, "Remove it.", "schedule-free")
    if name not in SCHEDULERS and not name.startswith("adafactor"):
        what = f"no schedule is called {name!r}; the script would find out after loading the model."
        hint = did_you_mean(name, SCHEDULERS) or f"Known: {', '.join(SCHEDULERS)}."
        yield case.fault("lr_scheduler", what, hint, "scheduler-unknown")


RULES: tuple[Finder, ...] = (idle, optimizers, rates, arguments, schedules)
