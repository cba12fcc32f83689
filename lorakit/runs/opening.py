"""A run before its launch: its plans, its folder, and its record as far as it is known."""

import hashlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from lorakit import __version__
from lorakit.errors import SetupError
from lorakit.families import FAMILIES
from lorakit.files import below
from lorakit.journal import now
from lorakit.machine import Machine, this_machine
from lorakit.plan.make import make_plans
from lorakit.plan.model import Plan
from lorakit.private import is_private_set
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.recipe.resolve import resolve
from lorakit.runs.folder import new_run_dir
from lorakit.runs.ran_from import (
    CommandRun,
    DatasetUsed,
    MachineRank,
    RanOn,
    StepCounts,
    SubsetUsed,
    TrainerUsed,
    WeightUsed,
)
from lorakit.runs.record import Record
from lorakit.trainers.base import Command
from lorakit.trainers.checkout import packages_of


class FolderTaken(SetupError):  # noqa: N818  (reads as what happened)
    """Two starts in the same second: the later one plans again with the next name."""


def require_folder(run_dir: Path) -> None:
    """Make the run's folder, which must be new: a run never reuses one."""
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        run_dir.mkdir()
    except FileExistsError:  # also when it is empty: another start made it a moment ago
        raise FolderTaken(f"{run_dir} holds another run; nothing was started.") from None
    except OSError as error:
        raise SetupError(f"{run_dir}: {error.strerror}; nothing was started.") from error


def plans_now(
    recipe: Path,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    *,
    machine: Machine | None = None,
) -> tuple[Plan, ...]:
    """As they would be run now: one plan, or one for each stage."""
    resolved, faults = resolve(recipe, sets=sets, unsets=unsets)
    run_dir = new_run_dir(resolved.root, resolved.name)
    return make_plans(resolved, faults, run_dir=run_dir, machine=machine)


def opening_record(plan: Plan) -> Record:
    """Everything that is known before the launch."""
    resolved, launch = plan.resolved, Options(plan.resolved).launch
    return Record.like(
        resolved,
        lorakit=__version__,
        state="running",
        run=f"{resolved.name}/{plan.run_dir.name}",
        recipe=str(resolved.file),
        root=str(resolved.root),
        sets=sets_of(resolved),
        output_name=plan.output_name,
        output=below(plan.output_dir, plan.run_dir),
        logs=below(plan.logging_dir, plan.run_dir),
        started=now(),
        platform=_platform(),
        trainer=trainer_of(plan),
        machine=MachineRank(launch("machine_rank"), launch("machines", 1)),
        command=plan.argv,
        commands=commands_of(plan.commands),
        env=plan.env_shown,
        files={
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in plan.files.items()
        },
        settings=plan.settings_shown,
        steps=StepCounts.like(plan.steps, per_epoch=plan.steps.steps_per_epoch),
        estimate=plan.estimate,
        dataset=_dataset(plan),
        weights=_weights(plan),
        plan_warnings=tuple(str(fault) for fault in plan.faults if fault.severity != "error"),
    )


def commands_of(commands: Sequence[Command]) -> tuple[CommandRun, ...]:
    """Of a run with several, none of them begun; a run with one has it in `command`."""
    several = commands if len(commands) > 1 else ()
    return tuple(CommandRun(one.name, one.argv) for one in several)


def trainer_of(plan: Plan) -> TrainerUsed:
    """Who trains: script, commit, Python, packages. Only folder names are read."""
    script, python = plan.script, plan.argv[0]
    return TrainerUsed(
        plan.resolved.trainer,
        None if script is None else str(script),
        plan.commit or None,
        python,
        packages_of(Path(python)),
    )


def sets_of(resolved: Resolved) -> tuple[str, ...]:
    """What was said after --set, but nothing that may be a secret."""
    return tuple(one for one in resolved.sets if not is_private_set(one))


def _dataset(plan: Plan) -> DatasetUsed:
    """Without the digest of dataset.json, which is computed beside the training."""
    facts = plan.dataset
    subsets = (
        SubsetUsed.like(one, path=str(one.path), images=len(one.images)) for one in facts.subsets
    )
    return DatasetUsed(str(facts.root), facts.image_count, tuple(subsets))


def _weights(plan: Plan) -> tuple[WeightUsed, ...]:
    """The weight files the run reads; hashes are filled in beside the training."""
    about = FAMILIES[plan.resolved.family].by(plan.resolved.trainer)
    keys = {weight.option: weight.key for weight in about.weights}
    return tuple(
        WeightUsed.like(
            file, key=keys.get(file.option, file.option), path=str(file.path), sha256=None
        )
        for file in plan.weights
    )


def _platform() -> RanOn:
    machine = this_machine()
    return RanOn.like(
        machine,
        cpus=machine.cpu_count,
        gpus=tuple(gpu.name for gpu in machine.gpus),
        node=platform.node(),
        python=sys.version.split()[0],
    )
