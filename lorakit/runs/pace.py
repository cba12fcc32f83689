"""How long a run will take, by what was measured, here first. Unknown is an answer."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorakit import json_text, tomllib
from lorakit.config import cache_dir
from lorakit.errors import LorakitError, counted
from lorakit.files import write_atomic
from lorakit.machine import Machine
from lorakit.plan.model import Plan
from lorakit.recipe.model import Section
from lorakit.recipe.options import Options
from lorakit.runs.folder import runs_dir
from lorakit.show import duration

if TYPE_CHECKING:
    from lorakit.runs.record import Record

READ = 100  # the newest records are looked at,
ENOUGH = 5  # until so many of this kind were found
# Two runs that agree in these make a batch in about the same time.
KIND = (
    *("resolution", "train_batch_size", "mixed_precision", "gradient_checkpointing"),
    *("fp8_base", "blocks_to_swap", "network_train_unet_only", "cache_latents"),
)
SAME_SIZE = 4.0  # times: a LoRA of the toy base is far smaller than one of its family


@dataclass(frozen=True)
class Expected:
    """Time of the steps alone: loading before them and samples between them come on top."""

    seconds: float | None
    seconds_a_step: float | None
    source: str  # where the figure comes from; what to do, where there is none

    def __str__(self) -> str:
        if self.seconds_a_step is None:
            return self.source
        if not self.seconds:
            return f"{self.seconds_a_step:.3g} s a step, {self.source}"
        return f"about {duration(self.seconds)}, {self.source}"


def expected(plan: Plan, machine: Machine) -> Expected:
    """`machine` as the plan was made for."""
    batches = max(1, plan.steps.accumulation)
    for seconds, source in _sources(plan, machine):
        pace = seconds * batches
        return Expected(pace * plan.steps.total or None, pace, source)
    options, device = Options(plan.resolved), machine.trains_on.name
    ways = "no run of its kind was made there"
    if options.family in {"sd15", "sdxl"}:
        side = options.resolution[0]
        command = f"`lorakit rehearse {plan.resolved.name} --resolution {side} --steps 6`"
        ways = f"{command}{' there' if machine.elsewhere else ''} measures it"
    return Expected(None, None, f"unknown on {device}: {ways}")


def remember(plan: Plan, machine: Machine, seconds: float) -> None:
    """What a rehearsal of full size measured, for the plans to come."""
    known = {**json_text.table(_place()), _key(plan, machine): seconds}
    write_atomic(_place(), json.dumps(known, indent=1))


def _sources(plan: Plan, machine: Machine) -> Iterator[tuple[float, str]]:
    """Seconds a batch and where they come from, the surest first."""
    if not machine.elsewhere:
        if runs := list(islice(_runs_here(plan, machine), ENOUGH)):
            from statistics import median

            yield median(runs), f"from {counted(len(runs), 'run')} here"
        seconds = json_text.table(_place()).get(_key(plan, machine))
        if isinstance(seconds, (int, float)):
            yield seconds, "from a rehearsal here"
    yield from _measured(plan, machine)


def _runs_here(plan: Plan, machine: Machine) -> Iterator[float]:
    if not runs_dir(plan.resolved.root).is_dir():  # and a plan need not import the record
        return
    from lorakit.runs.find import run_dirs
    from lorakit.runs.record import read_record

    for run_dir in reversed(run_dirs(plan.resolved.root)[-READ:]):
        with suppress(LorakitError):
            record = read_record(run_dir)
            seconds = record.outcome.seconds_a_step
            if seconds and _is_alike(record, plan, machine):
                yield seconds / max(1, record.steps.accumulation)


def _is_alike(record: "Record", plan: Plan, machine: Machine) -> bool:
    """On the same machine, of the same kind and about the same size."""
    ran = record.platform
    here = (machine.system, machine.arch, machine.cpu_count, *(one.name for one in machine.gpus))
    then, now = record.estimate.lora_bytes, plan.estimate.lora_bytes
    settings = record.settings.get("train", {})
    return (
        (ran.system, ran.arch, ran.cpus, *ran.gpus) == here
        and _kind(record.trainer.name, record.family, settings) == _kind_of(plan)
        and (not then or not now or 1 / SAME_SIZE < then / now < SAME_SIZE)
    )


def _measured(plan: Plan, machine: Machine) -> Iterator[tuple[float, str]]:
    options = Options(plan.resolved)
    device = machine.gpus[0].name if machine.gpus else machine.accelerator
    side = options.resolution
    work = side[0] * side[1] * options.batch_size
    asked = {
        "family": options.family,
        "trainer": options.resolved.trainer,
        "checkpointing": options.flag("gradient_checkpointing"),
        "fp8": options.fp8,
    }
    fitting = [
        (work / (one["side"] ** 2 * one["batch"]), one["seconds"], known["title"])
        for name, known in tomllib.page(__file__, "measured.toml").items()
        for one in known["steps"]
        if name in device and all(one.get(key, False) == value for key, value in asked.items())
    ]
    if fitting and not options.integer("blocks_to_swap"):
        times, seconds, title = min(fitting, key=lambda one: abs(one[0] - 1))
        alike = times == 1 and options.flag("network_train_unet_only")
        exact = f"as measured on {title}"
        scaled = f"roughly: scaled by pixels from what was measured on {title}"
        yield seconds * times, exact if alike else scaled


def _kind(trainer: str, family: str, settings: Section) -> tuple[str, ...]:
    """Words that are equal where the settings are; what is unset, false or 1 is the same."""
    said = {key: settings[key].value if key in settings else None for key in KIND}
    if (side := str(said["resolution"] or "").split(",")) and len(set(side)) == 1:
        said["resolution"] = side[0]
    return (trainer, family, *map(_word, said.values()))


def _word(value: Any) -> str:
    unsaid = value is None or (value is not True and value in {0, 1})  # False is 0
    return "" if unsaid else str(value)


def _kind_of(plan: Plan) -> tuple[str, ...]:
    return _kind(plan.resolved.trainer, plan.resolved.family, plan.settings)


def _key(plan: Plan, machine: Machine) -> str:
    return " ".join((*_kind_of(plan), machine.accelerator, *(one.name for one in machine.gpus)))


def _place() -> Path:
    return cache_dir() / "paces.json"
