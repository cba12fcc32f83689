"""What only shows at the end: disk, memory, files in the way, what is not installed or fetched."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lorakit.config import CHECKOUTS
from lorakit.errors import Fault
from lorakit.machine import Machine, free_disk
from lorakit.plan.foreseen import Estimate
from lorakit.plan.model import Steps, Verdict
from lorakit.portable import stem_problem
from lorakit.recipe.options import Options
from lorakit.show import size
from lorakit.trainers.checkout import sites_of
from lorakit.trainers.optimisers import BY_LOWER_NAME
from lorakit.trainers.signatures import missing_package
from lorakit.trainers.table import trainer

RESERVE = 500_000_000  # a disk filled to the last byte breaks more than this run
SAVES_MEMORY = (
    "gradient_checkpointing, cache_latents, a smaller batch or an 8-bit optimiser save some."
)

# What only shows by looking around here: for a plan for another machine these are notes.
HERE = frozenset(
    {
        "weights-not-there",
        "no-folder",
        "nothing-to-train",
        "disk-space",
        "output-read-only",
        "package-missing",
        "tokenizers-offline",
        "t5-tokenizer",
        *(f"{key.replace('_', '-')}-place" for key, _ in CHECKOUTS.values()),
        "no-script",
        "accelerate-config",
        "start-not-there",
    }
)


def noted(fault: Fault) -> Fault:
    """What is missing on this machine, for a plan that another one will carry out."""
    if fault.rule not in HERE:
        return fault
    return replace(fault, severity="note", hint="To be there on that machine.")


def run_faults(
    options: Options, steps: Steps, needs: Estimate, machine: Machine, fit: Verdict
) -> Iterator[Fault]:
    """`options` as completed by the plan: every path is absolute."""
    output = Path(options.text("output_dir"))
    yield from _output(options, output, steps)
    free = free_disk(output)
    if needs.disk_bytes + RESERVE > free:
        what = f"the run needs {size(needs.disk_bytes)} at its fullest; {size(free)} are free."
        hint = "Free some, or keep fewer checkpoints (save_last_n_epochs) and no states."
        yield Fault(str(output), what, hint, "disk-space")
    if fit.word == "does not fit":
        needed = f"{size(fit.low)} to {size(fit.high)}"
        what = f"has {size(fit.there)} of memory; the run needs about {needed}."
        hint = f"The preset {fit.better} fit." if fit.better else SAVES_MEMORY
        yield Fault(fit.device, what, hint, "memory", "warning")
    if options.text("save_model_as") != "safetensors":
        what = "only safetensors is saved; the others are pickled and carry no metadata."
        yield options.fault("save_model_as", what, "Remove it.", "pickle-out")
    card = machine.trains_on
    if 0 < card.capability < 8 and options.precision == "bf16":
        what = f"{card.name} has no bf16 of its own; it would be slow, or fail."
        hint = 'Set mixed_precision = "fp16".'
        yield options.fault("mixed_precision", what, hint, "card-bf16", "warning")


def tokenizer_faults(options: Options, env: Mapping[str, str]) -> Iterator[Fault]:
    """Offline and without them sd-scripts stops with a misleading TypeError."""
    missing = trainer(options.resolved.trainer).downloads(options.resolved)
    if not missing:
        return
    names, hint = " and ".join(missing), "Name a folder that holds them as tokenizers in [model]."
    if "tokenizer_cache_dir" not in options.known:
        hint = "Once fetched, it stays in the hub's cache."
    if {**os.environ, **env}.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        what = f"the script would have to download {names}, but HF_HUB_OFFLINE is set."
        yield Fault(options.recipe, what, hint, "tokenizers-offline")
    else:
        what = f"the script downloads {names} when it starts."
        yield Fault(options.recipe, what, hint, "tokenizers-fetched", "note")


# Settings that need a package wherever they are on.
MODULES = {
    "use_8bit_adam": "bitsandbytes",
    "use_lion_optimizer": "lion_pytorch",
    "xformers": "xformers",
}


def package_faults(options: Options, python: Path) -> Iterator[Fault]:
    """What the trainer's Python certainly lacks; the script misses it only after loading."""
    for key, module in _wanted(options):
        if lacks(python, module):
            yield missing_package(options, key, python, module)


def _wanted(options: Options) -> Iterator[tuple[str, str]]:
    dotted = BY_LOWER_NAME.get(options.text("optimizer_type").lower(), "torch")
    if not dotted.startswith(("torch", "transformers.")):  # those are always there
        yield "optimizer_type", dotted.partition(".")[0]
    yield from ((key, module) for key, module in MODULES.items() if options.flag(key))
    if options.text("log_with") in {"wandb", "all"}:
        yield "log_with", "wandb"


def lacks(python: Path, module: str) -> bool:
    """Only where it is certain: in a virtual environment closed to packages of the system."""
    try:
        config = (python.parent.parent / "pyvenv.cfg").read_text(encoding="utf-8").lower()
    except (OSError, ValueError):
        return False
    sites = sites_of(python)
    patterns = (module, f"{module}.*", f"__editable__*{module}*")
    return (
        "include-system-site-packages = true" not in config
        and bool(sites)
        and not any(any(site.glob(pattern)) for site in sites for pattern in patterns)
    )


def _output(options: Options, output: Path, steps: Steps) -> Iterator[Fault]:
    name = options.output_name
    if problem := stem_problem(name):
        hint = "Letters, digits, dashes and underscores are safe everywhere."
        yield options.fault("output_name", problem, hint, "output-name")
        return  # no path can be made of it
    taken = [saved.name for saved in steps.checkpoints if (output / saved.name).exists()]
    if taken:
        more = f" ({len(taken)} files are)" if len(taken) > 1 else ""
        what = f"is there already{more}, and the script would overwrite it silently."
        hint = "Choose another output_name or run folder."
        yield Fault(str(output / taken[0]), what, hint, "output-exists")
    place = output
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        what = "cannot be written to; the script would notice at its first checkpoint."
        yield Fault(str(place), what, "", "output-read-only")
