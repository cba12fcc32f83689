"""Does the memory of a run fit a device, and which preset would? Arithmetic alone."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lorakit.errors import RecipeError
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.plan.estimate import estimate
from lorakit.plan.foreseen import Estimate
from lorakit.plan.model import Steps, Verdict
from lorakit.recipe import presets
from lorakit.recipe.model import Resolved, Section
from lorakit.recipe.options import Options
from lorakit.recipe.reading import preset_values

NO_STEPS = Steps((), 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, (), (), "")
BELOW_A_RECIPE = ("preset ", "family ")  # how the sources of such settings begin


class Fitting(NamedTuple):
    preset: presets.Preset
    needs: Estimate
    verdict: Verdict


def verdict(options: Options, needs: Estimate, machine: Machine) -> Verdict:
    """For the plan of one recipe; where it does not fit, with the largest preset that would."""
    found = Verdict.of(needs, machine.trains_on)
    if found.word != "does not fit":
        return found
    resolved = options.resolved
    own = {
        key: one
        for key, one in resolved.train.items()
        if not one.source.startswith(BELOW_A_RECIPE) and resolved.preset
    }
    others = fitting(machine, resolved.root, family=resolved.family, own=own)
    fit = [one.preset.name for one in others if one.verdict.word == "fits"]
    may = [one.preset.name for one in others if one.verdict.word == "may fit"]
    # the largest that fits, else the smallest that may
    better = f"{fit[-1]} would" if fit else f"{may[0]} might" if may else ""
    return replace(found, better=better)


def fitting(
    machine: Machine, root: Path, *, family: str = "", own: Section | None = None
) -> list[Fitting]:
    """Every readable preset (of a family), by what it needs, `own` settings over each."""
    found = list[Fitting]()
    for name in presets.names(root):
        try:
            page = presets.read(name, root)
            if page.family not in FAMILIES or (family and page.family != family):
                continue
            sections, _ = preset_values(page)
        except RecipeError:
            continue
        alone = Resolved(
            file=root / f"{page.name}.toml",
            root=root,
            name=page.name,
            trigger="",
            preset=page.name,
            family=page.family,
            trainer=page.trainer,
            train={**sections["train"], **(own or {})},
        )
        needs = estimate(Options(alone), NO_STEPS, machine.accelerator)
        found.append(Fitting(page, needs, Verdict.of(needs, machine.trains_on)))
    return sorted(found, key=lambda one: (one.needs.memory_high, one.preset.name))
