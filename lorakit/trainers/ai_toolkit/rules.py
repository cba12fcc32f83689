"""What ai-toolkit forbids or silently gets wrong, as far as settings and the machine alone decide
it. Names of kohya's that it has no counterpart for are refused by the catalogue.
"""

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.ai_toolkit.config_file import OPTIMIZERS, optimizer, warmup
from lorakit.trainers.rule import Case, Finder

# What lies in the run's output beside the LoRA files: it would be taken for one to go on from.
BESIDE = ("config.yaml", "optimizer.pt", "samples", "sample", "loss_log.db", "learnable_snr.json")
SCHEDULES = ("constant", "constant_with_warmup", "cosine", "cosine_with_restarts")


def file_name(case: Case) -> Iterator[Fault]:
    if any(beside.startswith(case.output_name) for beside in BESIDE):
        what = "is how another file begins that ai-toolkit writes; it would go on from that."
        what = f"{case.value('output_name')} {what}"
        hint = "Give the recipe another name; any that no such file begins with."
        yield case.fault("output_name", what, hint, "aitk-name")


def data_and_device(case: Case) -> Iterator[Fault]:
    experts = ("train_high_noise", "train_low_noise")
    if case.flag("cache_text_encoder_outputs") and case.anywhere("shuffle_caption"):
        what = "a cached caption cannot be shuffled."
        hint = "Take one of them out."
        yield case.fault("cache_text_encoder_outputs", what, hint, "aitk-text-cache")
    if all(case.value(one) is False for one in experts):
        hint = "Set one of train_high_noise and train_low_noise."
        yield case.fault(experts[0], "neither expert would be trained.", hint, "aitk-experts")
    if case.family != "wan22" and any(map(case.is_set, experts)):
        what = "only Wan 2.2 has two experts."
        yield case.fault(experts[0], what, "Take it out.", "aitk-expert-elsewhere")
    if any(width != height for width, height in case.resolutions):
        what = "ai-toolkit takes one number: the side of a square of as many pixels."
        yield case.fault("resolution", what, 'Write resolution = "1024".', "aitk-square")
    if case.processes > 1 or case.launch("machines", 1) > 1:
        what = "lorakit starts ai-toolkit on one device."
        hint = "Leave processes and machines out of [launch]."
        yield case.fault("processes", what, hint, "aitk-processes")


def learning(case: Case) -> Iterator[Fault]:
    schedule, rate = case.text("lr_scheduler"), case.value("learning_rate")
    if schedule == "linear":
        what = "rises in ai-toolkit, from a third of the rate; kohya's falls to 0."
        hint = 'Write lr_scheduler = "cosine", or "constant".'
        yield case.fault("lr_scheduler", what, hint, "aitk-linear")
    elif schedule not in {"", *SCHEDULES}:
        what, hint = "none that ai-toolkit can build.", f"There are {', '.join(SCHEDULES)}."
        yield case.fault("lr_scheduler", f"{schedule} is {what}", hint, "aitk-scheduler")
    if warmup(case) > 0 and schedule != "constant_with_warmup":
        what = "ai-toolkit warms up with constant_with_warmup alone."
        hint = 'Write lr_scheduler = "constant_with_warmup", or leave the warm-up out.'
        yield case.fault("lr_warmup_steps", what, hint, "aitk-warmup")
    alpha = case.value("network_alpha")
    if case.about.flow and alpha not in (None, case.rank):
        what = f"{alpha} would be ignored: for this model ai-toolkit takes the rank."
        hint = "Write network_alpha = network_dim, and the rate that goes with it."
        yield case.fault("network_alpha", what, hint, "aitk-alpha")
    if optimizer(case) not in OPTIMIZERS:
        what = f"{case.value('optimizer_type')} is none that ai-toolkit has under this name."
        hint = f"There are {', '.join(OPTIMIZERS)}."
        yield case.fault("optimizer_type", what, hint, "aitk-optimizer")
    if optimizer(case) == "prodigy" and case.number("learning_rate") < 0.1:
        what = f"{rate} would silently become 1.0 with this optimiser."
        yield case.fault("learning_rate", what, "Write learning_rate = 1.0.", "aitk-adaptive")
    if not case.is_set("learning_rate"):
        what = "is not set, and ai-toolkit's own 1e-6 teaches a LoRA nothing."
        yield case.fault("learning_rate", what, "Write learning_rate = 1e-4.", "aitk-rate")


RULES: tuple[Finder, ...] = (file_name, learning, data_and_device)
