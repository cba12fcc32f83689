"""A plan for others: as JSON, as a command line for a shell, as the files of `--write`."""

import shlex
from typing import Any, NamedTuple

from lorakit.plan.model import Plan
from lorakit.plan.steps import repeats_of
from lorakit.private import HIDDEN
from lorakit.recipe.options import Options


class SubsetRow(NamedTuple):
    """A folder of the dataset, as it is counted. Empty where nothing is to be said."""

    folder: str
    images: int
    repeats: int | str
    draws: int | str
    captions: int | str
    kind: str


def subset_rows(plan: Plan) -> list[SubsetRow]:
    rows = []
    for subset in plan.dataset.subsets:
        count, repeats = len(subset.images), repeats_of(Options(plan.resolved), subset)
        kind = "regularisation" if subset.is_reg else ""
        rows.append(
            SubsetRow(subset.path.name, count, repeats, repeats * count, subset.captioned, kind)
        )
    if held := plan.steps.validation_images:
        rows.append(SubsetRow("held back", held, "", "", "", "validation"))
    return rows


def command_text(plan: Plan) -> str:
    """A line for each command, under its name if several; [launch] env is left to the shell."""
    env = [
        f'{name}="${{{name}}}"' if value == HIDDEN else f"{name}={shlex.quote(value)}"
        for name, value in sorted(plan.env_shown.items())
    ]
    several = len(plan.commands) > 1
    return "\n".join(
        (f"# {one.name}\n" if several else "") + " ".join([*env, shlex.join(one.argv)])
        for one in plan.commands
    )


def files_of(plan: Plan) -> dict[str, str]:
    """What --write leaves in the plan's folder."""
    return {**plan.files, "command.txt": command_text(plan) + "\n"}


def as_document(plan: Plan) -> dict[str, Any]:
    """What programs read. Images are counted, not listed."""
    resolved, steps = plan.resolved, plan.steps
    return {
        "schema": "lorakit.plan/1",
        "name": resolved.name,
        "stage": plan.stage,
        "family": resolved.family,
        "trainer": resolved.trainer,
        "preset": resolved.preset,
        "trigger": resolved.trigger,
        "recipe": resolved.file,
        "run_dir": plan.run_dir,
        "output_dir": plan.output_dir,
        "output_name": plan.output_name,
        "script": plan.script,
        "commit": plan.commit,
        "settings": {
            key: {"value": setting.value, "source": setting.source}
            for key, setting in plan.settings_shown["train"].items()
        },
        "subsets": [row._asdict() for row in subset_rows(plan)],
        "steps": {
            **vars(steps),
            "buckets": [{**vars(one), "images": len(one.images)} for one in steps.buckets],
        },
        "estimate": plan.estimate,
        "verdict": plan.verdict,
        "weights": list(plan.weights),
        "files": dict(plan.files),
        "argv": list(plan.argv),
        "commands": [one._asdict() for one in plan.commands],
        "env": dict(plan.env_shown),
        "faults": list(plan.faults),
    }
