"""Several processes, trackers, the network, and options that cannot work or must not stand in a
recipe.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Rule, warning

SECRETS = {"wandb_api_key": "WANDB_API_KEY", "huggingface_token": "HF_TOKEN"}
UPLOADS = (
    *("huggingface_repo_id", "huggingface_path_in_repo", "huggingface_repo_type"),
    *("save_state_to_huggingface", "async_upload"),
)


def here(case: Case) -> int:
    """The processes of this machine, where there are several."""
    return max(1, case.processes // max(1, case.launch("machines", 1)))


def deepspeed(case: Case) -> bool:
    return bool(case.said("launch", "deepspeed")) or case.flag("deepspeed")


def secrets(case: Case) -> Iterator[Fault]:
    for key, variable in SECRETS.items():
        if case.is_set(key):
            what = "is a secret; it would end up in files and records."
            hint = f"Remove it and set {variable} in the environment."
            yield case.fault(key, what, hint, "secret-in-recipe")


def uploads(case: Case) -> Iterator[Fault]:
    for key in UPLOADS:
        if case.is_set(key) and case.flag(key):
            what = "uploads while training; lorakit sends nothing anywhere unless asked afterwards."
            hint = "Remove it; `lorakit deploy` writes the files to publish."
            yield case.fault(key, what, hint, "upload-off")


RULES = (
    Rule(
        "seed-per-process",
        "seed",
        lambda c: c.processes > 1 and c.value("seed") is None,
        "unset: each process would take its own and shuffle the images differently.",
        "Set seed, e.g. 42.",
    ),
    warning(
        "processes-device",
        "mixed_precision",
        lambda c: c.cuda and here(c) > 1 and len(c.machine.gpus) < here(c),
        "several processes need as many CUDA cards; this machine has fewer.",
        "Set processes = 1 in [launch].",
    ),
    Rule(
        "processes-without-cards",
        "mixed_precision",
        lambda c: c.processes > 1 and not c.cuda,
        "several processes of sd-scripts need CUDA cards: on the CPU accelerate wraps the frozen"
        " networks too, and stops.",
        'Set processes = 1 in [launch], or trainer = "embedded", which shares the work on the CPU'
        " too.",
    ),
    Rule(
        "deepspeed-device",
        "deepspeed",
        lambda c: deepspeed(c) and not c.cuda,
        "needs CUDA cards; this machine has none.",
        "Set deepspeed = false in [launch].",
    ),
    warning(
        "deepspeed-state",
        "save_state",
        lambda c: deepspeed(c) and (c.flag("save_state") or c.flag("save_state_on_train_end")),
        "saves on the first process alone, which most likely hangs the others under DeepSpeed.",
        "Remove it.",
    ),
    warning(
        "zero-idle",
        "zero_stage",
        lambda c: c.is_set("zero_stage") and not deepspeed(c),
        "has no effect without DeepSpeed.",
        "Set deepspeed = true in [launch], or remove it.",
    ),
    warning(
        "tracker-network",
        "log_with",
        lambda c: c.value("log_with") in {"wandb", "all"},
        "{value} sends the run's settings and losses to a server.",
        'log_with = "tensorboard" stays on this machine.',
    ),
    Rule(
        "debug-dataset",
        "debug_dataset",
        lambda c: c.flag("debug_dataset"),
        "never ends where there is no window to press a key in.",
        "Remove it; `lorakit plan` shows the buckets.",
    ),
    Rule(
        "config-in-config",
        "config_file",
        lambda c: c.is_set("config_file") or c.is_set("output_config"),
        "cannot work from a config file; lorakit writes that file itself.",
        "Remove it.",
    ),
    Rule(
        "own-dataset-class",
        "dataset_class",
        lambda c: c.is_set("dataset_class"),
        "runs code of its own in place of the dataset, so nothing about it can be checked or"
        " predicted.",
        "Remove it.",
    ),
    Rule(
        "log-to-file",
        "console_log_file",
        lambda c: c.is_set("console_log_file"),
        "takes the messages away from the terminal, where lorakit reads them.",
        "Remove it; every run has its log.txt.",
    ),
    secrets,
    uploads,
)
