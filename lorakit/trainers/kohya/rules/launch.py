"""How long and how often; several processes, trackers, sample pictures; numbers out of bounds."""

from collections.abc import Callable, Iterator, Mapping

from lorakit.catalogue.options import BOUNDS
from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Finder, Rule, warning

# What the scripts read in some runs only; elsewhere any number may stand.
READ_WHERE: Mapping[str, Callable[[Case], bool]] = {
    "vae_batch_size": lambda c: c.caches_latents,
    "clip_skip": lambda c: c.family == "sd15",
    "max_train_steps": lambda c: not c.is_set("max_train_epochs"),
}
WHEN = ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")


def here(case: Case) -> int:
    """The processes of this machine, where there are several."""
    return max(1, case.processes // max(1, case.launch("machines", 1)))


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


def samples(case: Case) -> bool:
    return any(map(case.flag, WHEN))


RULES: tuple[Finder, ...] = (
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
    warning(
        "zero-idle",
        "zero_stage",
        lambda c: c.is_set("zero_stage") and not c.flag("deepspeed"),
        "has no effect without DeepSpeed.",
        "Set deepspeed = true in [launch], or remove it.",
    ),
    warning(
        "last-n-steps",
        "save_last_n_steps",
        files_not_steps,
        "{value} is a number of steps, not of files: only the newest checkpoint would stay.",
        "Write a multiple of save_every_n_steps.",
    ),
    bounds,
    Rule(
        "sample-without-prompts",
        "sample_prompts",
        lambda c: samples(c) and not c.flag("sample_prompts"),
        "samples are asked for, but there is no prompt: the script fails at the first sampling"
        " point.",
        "Write prompts in [sample].",
    ),
    warning(
        "sample-never",
        "sample_prompts",
        lambda c: c.flag("sample_prompts") and not samples(c),
        "there are prompts, but nothing says when to sample.",
        "Set every_n_epochs = 1 in [sample].",
    ),
    warning(
        "sample-interval",
        "sample_every_n_epochs",
        lambda c: any(c.is_set(when) and c.number(when) <= 0 for when in WHEN[:2]),
        "an interval of 0 or less switches the samples off.",
        "Write 1 or more, or remove it.",
    ),
)
