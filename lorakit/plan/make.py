"""Recipe + dataset + machine -> Plan. Reads folders and headers; changes and starts nothing."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.scan import scan
from lorakit.errors import Fault
from lorakit.machine import Machine, this_machine
from lorakit.plan import argv
from lorakit.plan.complete import completed
from lorakit.plan.data_checks import data_faults
from lorakit.plan.estimate import estimate, verdict
from lorakit.plan.model import Plan
from lorakit.plan.run_checks import noted, package_faults, run_faults, tokenizer_faults
from lorakit.plan.steps import count_steps
from lorakit.plan.weights import weight_faults, weight_files
from lorakit.recipe.layers import EITHER_OR
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.trainers.run_files import settings_for
from lorakit.trainers.table import trainer

ORDER = {"error": 0, "warning": 1, "note": 2}


def make_plan(
    resolved: Resolved,
    recipe_faults: Iterable[Fault] = (),
    *,
    run_dir: Path,
    machine: Machine | None = None,
) -> Plan:
    """Everything that would happen in `run_dir`, and every fault at once."""
    machine = machine or this_machine()
    run_dir = run_dir.absolute()
    options = Options(resolved)
    weights, faults = weight_files(options)
    launch = argv.launch_of(options, run_dir, machine)
    resolved = _with_counts(resolved, launch)
    full = completed(Options(resolved), run_dir, weights)
    settings = settings_for(full)
    facts = _facts(full)
    steps, more = count_steps(full, facts)
    who = trainer(resolved.trainer)
    rules = who.check(as_sent(full, resolved), machine)
    faults += _unsaid(more, rules)
    files, more = who.files(full, settings, facts)
    files |= argv.launcher_file(full, launch)
    script = who.find(resolved.family)
    needs = estimate(full, steps, launch.device)
    python = argv.python_of(full, script.python)
    commands = argv.commands_for(full, launch, python=python, script=script.path, run_dir=run_dir)
    plan = Plan(
        resolved=resolved,
        dataset=facts,
        steps=steps,
        run_dir=run_dir,
        script=script.path if script.found else None,
        files=files,
        commands=commands,
        env=argv.environment(full, launch, weights, run_dir, script.env),
        estimate=needs,
        faults=(),
        settings=settings,
        weights=weights,
        commit=script.commit,
        verdict=verdict(full, needs, machine),
    )
    found = [
        *facts.faults,
        *rules,
        *faults,
        *more,
        *_checked(plan, full, launch, machine),
        *script.faults,
        *(_missing_packages(full, python, rules) if script.found else ()),
        *(_folder_faults(full, facts) if full.folders else ()),
    ]
    known = tuple(recipe_faults)
    said = (noted(one) if machine.elsewhere else one for one in found)
    own = (one for one in said if not _follows(one, known, resolved))
    return replace(plan, faults=in_order([*known, *own]))


def as_sent(full: Options, resolved: Resolved) -> Resolved:
    """What the recipe says, and of the plan's additions what the script knows."""
    given = full.resolved.train
    sent = {key: one for key, one in given.items() if key in full.known or key in resolved.train}
    return replace(full.resolved, train=sent)


def _checked(
    plan: Plan, options: Options, launch: argv.Launch, machine: Machine
) -> Iterator[Fault]:
    yield from argv.launch_faults(options, launch)
    yield from weight_faults(options, plan.weights)
    yield from data_faults(options, plan.dataset, plan.steps)
    yield from run_faults(options, plan.steps, plan.estimate, machine, plan.verdict)
    yield from tokenizer_faults(options, plan.env)


def _unsaid(more: Iterable[Fault], rules: Iterable[Fault]) -> Iterator[Fault]:
    named = {fault.rule for fault in rules} | {fault.where for fault in rules}
    return (fault for fault in more if fault.rule not in named and fault.where not in named)


def _missing_packages(options: Options, python: Path, rules: Iterable[Fault]) -> Iterable[Fault]:
    """Nobody should install a package for what a rule refuses anyway."""
    refused = {fault.where for fault in rules if fault.severity == "error"}
    return (one for one in package_faults(options, python) if one.where not in refused)


def faults_of(plans: Iterable[Plan]) -> list[Fault]:
    """Of all stages, each once."""
    return list(dict.fromkeys(fault for plan in plans for fault in plan.faults))


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Errors first; what two rooms say about the same rule and the same setting is said once."""
    once: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        once.setdefault((fault.rule or fault.what, fault.where), fault)
    return tuple(sorted(once.values(), key=lambda fault: ORDER[fault.severity]))


def _with_counts(resolved: Resolved, launch: argv.Launch) -> Resolved:
    """The user's own accelerate configuration counts the processes."""
    if not launch.own_config:
        return resolved
    counts = {
        "processes": launch.processes,
        "machines": launch.machines,
        "machine_rank": launch.rank,
    }
    said = {key: Setting(count, str(launch.config)) for key, count in counts.items()}
    return replace(resolved, launch={**resolved.launch, **said})


def _follows(fault: Fault, known: Iterable[Fault], resolved: Resolved) -> bool:
    """Whether it only says that a setting is absent which was there, but refused."""
    section = fault.section
    if not fault.key or fault.key in Options(resolved).section(section):
        return False
    keys = {fault.key, ""}  # "": the whole section was refused
    keys.update(*(pair for of, pair in EITHER_OR if of == section and fault.key in pair))
    return any(one.rule == "value" and one.section == section and one.key in keys for one in known)


def _facts(options: Options) -> DatasetFacts:
    path, reg, off = (options.said("dataset", key) for key in ("path", "reg_path", "rules_off"))
    resolved = options.resolved
    if path is None:
        hint = 'Write path = "datasets/NAME", the parent of the N_trigger folders.'
        unset = options.fault("path", "is not set.", hint, "dataset-path", section="dataset")
        return DatasetFacts(resolved.root, (), (unset,))
    return scan(
        resolved.path_of(path),
        reg=None if reg is None else resolved.path_of(reg),
        caption_extension=options.caption_extension,
        off=tuple(off or ()),
        films=options.about.films,
        stated=options.stated,
    )


def _folder_faults(options: Options, facts: DatasetFacts) -> Iterable[Fault]:
    """What is lost without a dataset file."""
    hint = 'Set mode = "toml".'
    if subset := options.resolved.dataset.get("subset"):
        what = "folder mode cannot say anything about single folders."
        yield Fault(f"{subset.source} [dataset.subset]", what, hint, "folders-subset")
    if len(options.resolutions) > 1:
        what = "folder mode trains at one resolution."
        yield options.fault("resolutions", what, hint, "folders-subset", section="dataset")
    if sum(one.is_reg for one in facts.subsets) > 1:
        what = "in folder mode the order of several reg folders is the disk's: which images are"
        what = f"{what} taken, and so the number of steps, may differ from the plan."
        yield options.fault("mode", what, hint, "folders-reg", "warning", section="dataset")
    if options.number("validation_split") > 0:
        what = "in folder mode the order of the folders is the disk's, not the plan's."
        yield Fault(options.recipe, what, hint, "folders-order", "warning")


def make_plans(
    resolved: Resolved,
    recipe_faults: Iterable[Fault] = (),
    *,
    run_dir: Path,
    machine: Machine | None = None,
) -> tuple[Plan, ...]:
    """One, or one a stage, each from the last one's LoRA unless it has a base of its own."""
    machine = machine or this_machine()
    if not resolved.stages:
        return (make_plan(resolved, recipe_faults, run_dir=run_dir, machine=machine),)
    plans: list[Plan] = []
    for number, stage in enumerate(resolved.stages, start=1):
        model = dict(stage.model)
        if plans and not stage.anew:
            source = f"stage {plans[-1].stage}"
            model["network_weights"] = Setting(str(final_file(plans[-1])), source)
        plain = re.sub(r"[^\w.-]+", "-", stage.name)
        plan = make_plan(
            replace(resolved, stages=(), dataset=stage.dataset, train=stage.train, model=model),
            () if plans else recipe_faults,
            run_dir=run_dir / f"{number}-{plain}",  # 1-faces: sorts as the stages run
            machine=machine,
        )
        if plans:  # the LoRA to start from will be there
            plan = _without(plan, lambda fault: fault.rule == "start-not-there")
        plans.append(replace(plan, stage=stage.name))
    unknown = [
        {fault.where for fault in plan.faults if fault.rule == "subset-unknown"} for plan in plans
    ]
    nowhere = set.intersection(*unknown)  # a folder may belong to one stage alone
    return tuple(
        _without(plan, lambda one: one.rule == "subset-unknown" and one.where not in nowhere)
        for plan in plans
    )


def _without(plan: Plan, unwanted: Callable[[Fault], bool]) -> Plan:
    return replace(plan, faults=tuple(fault for fault in plan.faults if not unwanted(fault)))


def final_file(plan: Plan) -> Path:
    """The LoRA that the run leaves behind; the first, where it leaves several."""
    setting = plan.settings.get("output_name")
    name = f"{setting.value if setting else plan.output_name}.safetensors"
    made = (one.name for one in plan.steps.checkpoints if one.kind == "final")
    return plan.output_dir / next(made, name)
