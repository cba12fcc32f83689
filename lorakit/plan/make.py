"""Recipe + dataset + machine -> Plan. Reads folders and headers; changes nothing, starts nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lorakit.catalogue.options import options
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.scan import scan
from lorakit.errors import Fault, RecipeError
from lorakit.families import FAMILIES
from lorakit.machine import Machine, this_machine
from lorakit.plan import argv, write
from lorakit.plan.complete import completed, prompts
from lorakit.plan.data_checks import data_faults
from lorakit.plan.estimate import estimate
from lorakit.plan.model import Plan
from lorakit.plan.model_checks import weight_faults
from lorakit.plan.run_checks import package_faults, run_faults, tokenizer_faults
from lorakit.plan.steps import count_steps
from lorakit.plan.weights import weight_files
from lorakit.recipe import options as read
from lorakit.recipe.layers import EITHER_OR
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.trainers.table import trainer

ORDER = {"error": 0, "warning": 1, "note": 2}


def make_plan(
    resolved: Resolved,
    recipe_faults: Iterable[Fault] = (),
    *,
    run_dir: Path,
    machine: Machine | None = None,
    folders: bool = False,
) -> Plan:
    """Everything that would happen in `run_dir`, and every fault at once. Raises only where there
    is nothing to plan with.
    """
    machine = machine or this_machine()
    run_dir = run_dir.absolute()
    folders = folders or _mode(resolved) == "folders"
    weights, faults = weight_files(resolved)
    launch = argv.launch_of(resolved, run_dir, machine)
    if launch.own_config:  # the person's accelerate configuration counts the processes
        counts = {
            "processes": launch.processes,
            "machines": launch.machines,
            "machine_rank": launch.rank,
        }
        said = {key: Setting(count, str(launch.config)) for key, count in counts.items()}
        resolved = replace(resolved, launch={**resolved.launch, **said})
    full = completed(resolved, run_dir, weights, folders=folders)
    known = options(resolved.trainer, FAMILIES[resolved.family].script)
    settings = write.settings_for(full, known)
    facts = _facts(resolved)
    steps, more = count_steps(full, facts)
    sent = {key: one for key, one in full.train.items() if key in known or key in resolved.train}
    rules = trainer(resolved.trainer).check(replace(full, train=sent), machine)
    faults += [
        fault
        for fault in more
        if not any(fault.rule == one.rule or fault.where == one.where for one in rules)
    ]
    files, more = _files(full, settings, facts, launch, folders=folders)
    faults += more
    script = trainer(resolved.trainer).find(resolved.family)
    env = argv.environment(full, launch, weights, run_dir)
    needs = estimate(full, steps)
    python = argv.python_of(full, script.python)
    gathered = [
        *facts.faults,
        *rules,
        *faults,
        *argv.launch_faults(full, launch),
        *weight_faults(full, weights),
        *data_faults(full, facts, steps),
        *run_faults(full, steps, needs, machine),
        *tokenizer_faults(full, env),
        *script.faults,
        *(package_faults(full, python) if script.found else ()),
        *_folder_faults(resolved, folders=folders),
    ]
    told = tuple(recipe_faults)
    gathered = [*told, *(fault for fault in gathered if not _follows(fault, told, resolved))]
    commands = argv.commands_for(
        full, launch, machine, python=python, script=script.path, run_dir=run_dir
    )
    return Plan(
        resolved=resolved,
        dataset=facts,
        steps=steps,
        run_dir=run_dir,
        script=script.path if script.found else None,
        files=files,
        commands=commands,
        env=env,
        estimate=needs,
        faults=in_order(gathered),
        settings=settings,
        weights=weights,
        commit=script.commit,
    )


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Errors first; what two rooms say about the same rule and the same setting is said once."""
    once: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        once.setdefault(
            (fault.rule, fault.where) if fault.rule else (fault.what, fault.where), fault
        )
    return tuple(sorted(once.values(), key=lambda fault: ORDER[fault.severity]))


def _follows(fault: Fault, told: Iterable[Fault], resolved: Resolved) -> bool:
    """Whether this only says that a setting is absent which the recipe does hold, but which was
    refused.
    """
    place, _, key = fault.where.partition(" [")
    if place != read.recipe_name(resolved) or "] " not in key:
        return False
    section, key = key.split("] ", 1)
    names = {
        section,
        key,
        *(one for of, pair in EITHER_OR if of == section and key in pair for one in pair),
    }
    return any(
        one.rule == "value" and one.where.rpartition(" ")[2].rpartition(".")[2] in names
        for one in told
    )


def _facts(resolved: Resolved) -> DatasetFacts:
    path, reg = resolved.dataset.get("path"), resolved.dataset.get("reg_path")
    if path is None or not isinstance(path.value, str):
        unset = Fault(
            f"{read.recipe_name(resolved)} [dataset] path",
            "is not set.",
            'Write path = "datasets/NAME", the parent of the N_trigger folders.',
            "dataset-path",
        )
        return DatasetFacts(resolved.root, (), (unset,))
    off = resolved.dataset.get("rules_off")
    return scan(
        resolved.path_of(path.value),
        reg=resolved.path_of(reg.value) if reg and isinstance(reg.value, str) else None,
        caption_extension=read.caption_extension(resolved),
        off=tuple(off.value) if off and isinstance(off.value, (list, tuple)) else (),
    )


def _files(
    resolved: Resolved,
    settings: Section,
    facts: DatasetFacts,
    launch: argv.Launch,
    *,
    folders: bool,
) -> tuple[Mapping[str, str], list[Fault]]:
    """The texts; a text that kohya's reader cannot take is a fault, not an exception."""
    faults: list[Fault] = []
    files: dict[str, str] = {}

    makers: dict[str, Callable[[], str]] = {
        "train.toml": lambda: write.train_toml(resolved, settings)
    }
    if not folders:
        makers["dataset.toml"] = lambda: write.dataset_toml(resolved, facts)
    if prompts(resolved):
        makers["prompts.toml"] = lambda: _prompts(resolved, faults)
    for name, maker in makers.items():
        try:
            files[name] = maker()
        except RecipeError as error:
            faults.append(
                Fault(name, error.message.partition(": ")[2], error.hint, "toml-unreadable")
            )
    if not launch.own_config:
        files["accelerate.yaml"] = write.accelerate_yaml(
            processes=launch.processes,
            machines=launch.machines,
            rank=launch.rank,
            cpu=launch.device == "cpu",
            mixed_precision=read.text(resolved, "mixed_precision", "no"),
        )
    return files, faults


def _prompts(resolved: Resolved, faults: list[Fault]) -> str:
    text, problems = write.prompts_toml(resolved)
    faults += problems
    return text


def _folder_faults(resolved: Resolved, *, folders: bool) -> Iterable[Fault]:
    if folders and "subset" in resolved.dataset:
        yield Fault(
            f"{resolved.dataset['subset'].source} [dataset.subset]",
            "folder mode cannot say anything about single folders.",
            'Set mode = "toml".',
            "folders-subset",
        )
    if folders and read.number(resolved, "validation_split", 0.0) > 0:
        yield Fault(
            read.recipe_name(resolved),
            "in folder mode the order of the folders is the disk's, not the plan's.",
            'Set mode = "toml".',
            "folders-order",
            "warning",
        )


def _mode(resolved: Resolved) -> str:
    setting = resolved.dataset.get("mode")
    return str(setting.value) if setting else "toml"


def make_plans(
    resolved: Resolved,
    recipe_faults: Iterable[Fault] = (),
    *,
    run_dir: Path,
    machine: Machine | None = None,
    folders: bool = False,
) -> tuple[Plan, ...]:
    """One plan, or one for each stage of a recipe with several."""
    if resolved.stages:
        return make_stages(
            resolved, recipe_faults, run_dir=run_dir, machine=machine, folders=folders
        )
    return (make_plan(resolved, recipe_faults, run_dir=run_dir, machine=machine, folders=folders),)


def make_stages(
    resolved: Resolved,
    recipe_faults: Iterable[Fault] = (),
    *,
    run_dir: Path,
    machine: Machine | None = None,
    folders: bool = False,
) -> tuple[Plan, ...]:
    """A plan for each stage, each in its own folder; the next starts from the LoRA that the last
    one leaves.
    """
    machine = machine or this_machine()
    plans: list[Plan] = []
    for place, stage in enumerate(resolved.stages):
        model = dict(resolved.model)
        if plans:
            model["network_weights"] = Setting(
                str(final_file(plans[-1])), f"stage {plans[-1].stage}"
            )
        one = replace(resolved, stages=(), dataset=stage.dataset, train=stage.train, model=model)
        folder = run_dir / stage_folder(place + 1, stage.name)
        plan = make_plan(
            one,
            recipe_faults if not place else (),
            run_dir=folder,
            machine=machine,
            folders=folders,
        )
        told = tuple(
            fault for fault in plan.faults if not (plans and fault.rule == "start-not-there")
        )  # it will be there
        plans.append(replace(plan, stage=stage.name, faults=told))
    nowhere = set.intersection(
        *(
            {fault.where for fault in plan.faults if fault.rule == "subset-unknown"}
            for plan in plans
        )
    )
    return tuple(
        replace(
            plan,
            faults=tuple(
                fault
                for fault in plan.faults
                if fault.rule != "subset-unknown" or fault.where in nowhere
            ),
        )
        for plan in plans
    )  # a folder may belong to one stage alone


def stage_folder(number: int, name: str) -> str:
    """1-faces: sorts as the stages run, whatever the name holds."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    return f"{number}-{plain}"


def final_file(plan: Plan) -> Path:
    """The LoRA that the run leaves behind."""
    return (
        plan.output_dir
        / f"{plan.settings['output_name'].value if 'output_name' in plan.settings else plan.output_name}.safetensors"
    )
