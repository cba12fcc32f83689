"""How long and how often; several processes, trackers, sample pictures; numbers out of bounds."""

from collections.abc import Callable, Iterator, Mapping

from lorakit.catalogue.bounds import BOUNDS
from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Finder

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


def processes(case: Case) -> Iterator[Fault]:
    if case.cuda and here(case) > 1 and len(case.machine.gpus) < here(case):
        what = "several processes need as many CUDA cards; this machine has fewer."
        hint = "Set processes = 1 in [launch]."
        yield case.warning("mixed_precision", what, hint, "processes-device")
    if case.processes > 1 and not case.cuda:
        what = "several processes of sd-scripts need CUDA cards: on the CPU accelerate wraps the"
        what = f"{what} frozen networks too, and stops."
        hint = 'Set processes = 1 in [launch], or trainer = "embedded", which shares the work on'
        hint = f"{hint} the CPU too."
        yield case.fault("mixed_precision", what, hint, "processes-without-cards")
    states = case.flag("save_state") or case.flag("save_state_on_train_end")
    if case.flag("deepspeed") and states:
        what = "saves on the first process alone, which most likely hangs the others under"
        yield case.warning("save_state", f"{what} DeepSpeed.", "Remove it.", "deepspeed-state")
    if case.is_set("zero_stage") and not case.flag("deepspeed"):
        hint = "Set deepspeed = true in [launch], or remove it."
        yield case.warning("zero_stage", "has no effect without DeepSpeed.", hint, "zero-idle")


def saves(case: Case) -> Iterator[Fault]:
    if (tracker := case.value("log_with")) in {"wandb", "all"}:
        what = f"{tracker} sends the run's settings and losses to a server."
        hint = 'log_with = "tensorboard" stays on this machine.'
        yield case.warning("log_with", what, hint, "tracker-network")
    every, last = case.number("save_every_n_steps"), case.number("save_last_n_steps")
    if every > 0 and case.is_set("save_last_n_steps") and last < every:
        what = "is a number of steps, not of files: only the newest checkpoint would stay."
        what = f"{case.value('save_last_n_steps')} {what}"
        hint = "Write a multiple of save_every_n_steps."
        yield case.warning("save_last_n_steps", what, hint, "last-n-steps")


def samples(case: Case) -> Iterator[Fault]:
    asked, prompts = any(map(case.flag, WHEN)), case.flag("sample_prompts")
    if asked and not prompts:
        what = "samples are asked for, but there is no prompt: the script fails at the first"
        hint = "Write prompts in [sample]."
        what = f"{what} sampling point."
        yield case.fault("sample_prompts", what, hint, "sample-without-prompts")
    if prompts and not asked:
        what = "there are prompts, but nothing says when to sample."
        hint = "Set every_n_epochs = 1 in [sample]."
        yield case.warning("sample_prompts", what, hint, "sample-never")
    if any(case.is_set(when) and case.number(when) <= 0 for when in WHEN[:2]):
        what = "an interval of 0 or less switches the samples off."
        hint = "Write 1 or more, or remove it."
        yield case.warning("sample_every_n_epochs", what, hint, "sample-interval")


RULES: tuple[Finder, ...] = (processes, saves, bounds, samples)
