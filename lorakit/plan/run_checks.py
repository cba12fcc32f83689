"""What only shows when everything is decided: disk, memory, files in the way, what is not
installed, what would be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lorakit.errors import Fault
from lorakit.machine import Machine, free_disk
from lorakit.plan.model import Estimate, Steps
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.show import size
from lorakit.trainers.table import trainer

RESERVE = 500_000_000  # a disk filled to the last byte breaks more than this run


def run_faults(
    resolved: Resolved, steps: Steps, needs: Estimate, machine: Machine
) -> Iterator[Fault]:
    """`resolved` as completed by the plan: every path is absolute."""
    output = Path(read.text(resolved, "output_dir"))
    yield from _output(resolved, output, steps)
    free = free_disk(output)
    if needs.disk_bytes + RESERVE > free:
        yield Fault(
            str(output),
            f"the run needs {size(needs.disk_bytes)} at its fullest; {size(free)} are free.",
            "Free some, or keep fewer checkpoints (save_last_n_epochs) and no states.",
            "disk-space",
        )
    who, there = (
        (machine.gpus[0].name, machine.gpus[0].memory_bytes)
        if machine.gpus
        else ("this machine", machine.memory_bytes)
    )
    if there and needs.memory_low > there:
        yield Fault(
            who,
            f"has {size(there)} of memory; the run needs about {size(needs.memory_low)} to"
            f" {size(needs.memory_high)}.",
            "gradient_checkpointing, cache_latents, a smaller batch or an 8-bit optimiser save"
            " some.",
            "memory",
            "warning",
        )


def tokenizer_faults(resolved: Resolved, env: Mapping[str, str]) -> Iterator[Fault]:
    """Offline and without them sd-scripts stops with a misleading TypeError."""
    missing = trainer(resolved.trainer).downloads(resolved)
    if not missing:
        return
    offline = {**os.environ, **env}.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    what = (
        f"the script {'would have to download' if offline else 'downloads'} {' and '.join(missing)}"
        " at its start"
    )
    yield Fault(
        read.recipe_name(resolved),
        f"{what}{', but HF_HUB_OFFLINE is set' if offline else ''}.",
        "Name a folder that holds them as tokenizers in [model].",
        "tokenizers-offline" if offline else "tokenizers-fetched",
        "error" if offline else "note",
    )


# What an optimiser's name begins with (or "8bit" within it), in lower case: the module it needs and
# the package that brings it.
OPTIMIZERS = {
    "paged": ("bitsandbytes", "bitsandbytes"),
    "lion": ("lion_pytorch", "lion-pytorch"),
    "prodigy": ("prodigyopt", "prodigyopt"),
    "dadapt": ("dadaptation", "dadaptation"),
}


def package_faults(resolved: Resolved, python: Path) -> Iterator[Fault]:
    """Packages that the settings need and the trainer's Python certainly lacks: the script misses
    them only after loading the model.
    """
    for key, module, package in _wanted(resolved):
        if lacks(python, module):
            yield Fault(
                read.where(resolved, key),
                f"needs the package {package}, which {python} lacks.",
                f"{python} -m pip install {package}",
                "package-missing",
            )


def _wanted(resolved: Resolved) -> Iterator[tuple[str, str, str]]:
    optimizer = read.text(resolved, "optimizer_type").lower()
    if "8bit" in optimizer:
        yield "optimizer_type", "bitsandbytes", "bitsandbytes"
    elif optimizer.endswith("schedulefree"):
        yield "optimizer_type", "schedulefree", "schedulefree"
    elif "." not in optimizer:
        yield from (
            ("optimizer_type", *names)
            for start, names in OPTIMIZERS.items()
            if optimizer.startswith(start)
        )
    for key, module in (
        ("use_8bit_adam", "bitsandbytes"),
        ("use_lion_optimizer", "lion_pytorch"),
        ("xformers", "xformers"),
    ):
        if read.flag(resolved, key):
            yield key, module, module.replace("_", "-")
    if read.text(resolved, "log_with") in {"wandb", "all"}:
        yield "log_with", "wandb", "wandb"


def lacks(python: Path, module: str) -> bool:
    """True only where it is certain: a virtual environment that is closed to the system's
    packages, and nothing of that name in it.
    """
    home = python.parent.parent
    try:
        closed = (
            "include-system-site-packages = true"
            not in (home / "pyvenv.cfg").read_text(encoding="utf-8").lower()
        )
    except (OSError, ValueError):
        return False
    sites = [*home.glob("lib/python3*/site-packages"), *home.glob("Lib/site-packages")]
    return (
        closed
        and bool(sites)
        and not any(
            (site / module).exists()
            or any(site.glob(f"{module}.*"))
            or any(site.glob(f"__editable__*{module}*"))
            for site in sites
        )
    )


def _output(resolved: Resolved, output: Path, steps: Steps) -> Iterator[Fault]:
    name = read.text(resolved, "output_name", resolved.name)
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name:
        yield Fault(
            read.where(resolved, "output_name"),
            f"{name!r} is no file name.",
            "Leave out slashes.",
            "output-name",
        )
    taken = [saved.name for saved in steps.checkpoints if (output / saved.name).exists()]
    if taken:
        more = f" ({len(taken)} files are)" if len(taken) > 1 else ""
        yield Fault(
            str(output / taken[0]),
            f"is there already{more}, and the script would overwrite it silently.",
            "Choose another output_name or run folder.",
            "output-exists",
        )
    place = output
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield Fault(
            str(place),
            "cannot be written to; the script would notice at its first checkpoint.",
            "",
            "output-read-only",
        )
    if read.text(resolved, "save_model_as", "safetensors") != "safetensors":
        yield Fault(
            read.where(resolved, "save_model_as"),
            "only safetensors is saved; the others are pickled and carry no metadata.",
            "Remove it.",
            "pickle-out",
        )
