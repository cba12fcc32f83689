"""How long and how often; several processes, trackers, the network, sample pictures; and options
that cannot work or must not stand in a recipe.
"""

from collections.abc import Callable, Iterator, Mapping

from lorakit.catalogue.bounds import BOUNDS
from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Finder, Rule, apart, unwanted, warning

SECRETS = {"wandb_api_key": "WANDB_API_KEY", "huggingface_token": "HF_TOKEN"}
UPLOADS = (
    *("huggingface_repo_id", "huggingface_path_in_repo", "huggingface_repo_type"),
    *("save_state_to_huggingface", "async_upload"),
)
# What the scripts read in some runs only; elsewhere any number may stand.
READ_WHERE: Mapping[str, Callable[[Case], bool]] = {
    "vae_batch_size": lambda c: c.caches_latents,
    "clip_skip": lambda c: c.family == "sd15",
    "max_train_steps": lambda c: not c.is_set("max_train_epochs"),
}
WHEN = ("every_n_epochs", "every_n_steps", "at_first")


def here(case: Case) -> int:
    """The processes of this machine, where there are several."""
    return max(1, case.processes // max(1, case.launch("machines", 1)))


def deepspeed(case: Case) -> bool:
    return bool(case.said("launch", "deepspeed")) or case.flag("deepspeed")


def bounds(case: Case) -> Iterator[Fault]:
    for bound in BOUNDS:
        for key in bound.options:
            wrong = bound.outside(case.value(key)) if case.is_set(key) else []
            if wrong and (key not in READ_WHERE or READ_WHERE[key](case)):
                what, hint = f"{wrong[0]}: {bound.why}.", f"Write {bound.range}, or remove {key}."
                yield case.fault(key, what, hint, bound.rule)


def files_not_steps(case: Case) -> bool:
    every, last = case.number("save_every_n_steps"), case.number("save_last_n_steps")
    return every > 0 and case.is_set("save_last_n_steps") and last < every


def asked(case: Case, when: str) -> bool:
    return bool(case.said("sample", when) or case.flag(f"sample_{when}"))


def prompts(case: Case) -> bool:
    return bool(case.said("sample", "prompts") or case.flag("sample_prompts"))


RULES: tuple[Finder, ...] = (
    *(
        unwanted(
            "secret-in-recipe",
            key,
            "is a secret; it would end up in files and records.",
            f"Remove it and set {variable} in the environment.",
        )
        for key, variable in SECRETS.items()
    ),
    *(
        unwanted(
            "upload-off",
            key,
            "uploads while training; lorakit sends nothing anywhere unless asked afterwards.",
            "Remove it; `lorakit deploy` writes the files to publish.",
        )
        for key in UPLOADS
    ),
    unwanted(
        "debug-dataset",
        "debug_dataset",
        "never ends where there is no window to press a key in.",
        "Remove it; `lorakit plan` shows the buckets.",
    ),
    *(
        unwanted(
            "config-in-config",
            key,
            "cannot work from a config file; lorakit writes that file itself.",
            "Remove it.",
        )
        for key in ("config_file", "output_config")
    ),
    unwanted(
        "own-dataset-class",
        "dataset_class",
        "runs code of its own in place of the dataset, so nothing about it can be checked or"
        " predicted.",
        "Remove it.",
    ),
    unwanted(
        "log-to-file",
        "console_log_file",
        "takes the messages away from the terminal, where lorakit reads them.",
        "Remove it; every run has its log.txt.",
    ),
    apart(
        "steps-and-epochs",
        "max_train_steps",
        "max_train_epochs",
        "is overridden by max_train_epochs.",
        severity="warning",
    ),
    apart(
        "ratio-and-epochs",
        "save_every_n_epochs",
        "save_n_epoch_ratio",
        "is overridden by save_n_epoch_ratio.",
        severity="warning",
    ),
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
