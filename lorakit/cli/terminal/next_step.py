"""The way from photos to a LoRA in use, and the one place that knows it.

What is there already decides what comes next, whoever did the step before, and however. Nothing is
said where nothing is left, or where a fault comes first.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lorakit.errors import LorakitError, counted
from lorakit.show import say

if TYPE_CHECKING:
    from lorakit.cli.terminal.dataset_target import Target
    from lorakit.dataset.facts import DatasetFacts
    from lorakit.plan.model import Plan
    from lorakit.recipe.model import Resolved

PHOTOS = "PHOTOS"  # the one word that only the user knows
PROGRAMS = {
    "comfyui": ("ComfyUI", "comfyui"),
    "a1111": ("stable-diffusion-webui", "stable-diffusion-webui-forge"),
}


def say_next(command: str, about: str = "") -> None:
    if command:
        say(f"Next: {command}" + (f"    # {about}" if about else ""))


def next_for_dataset(
    target: "Target", *, after: str = "", facts: "DatasetFacts | None" = None
) -> tuple[str, str]:
    """The next command and a word about it. `after`: a step just done that may leave no trace."""
    from lorakit.dataset.build.originals import ORIGINALS
    from lorakit.dataset.build.remembered import PLACE, flagged_in, recropped
    from lorakit.dataset.build.sources import holds_pictures

    name, root = shlex.quote(target.typed), target.root
    facts = facts or (target.scan() if root.is_dir() else None)
    trained = facts.trained if facts else []
    images = sum(len(subset.images) for subset in trained)
    captioned = sum(subset.captioned for subset in trained)
    added = any((root / ORIGINALS).glob("*/*"))
    repeats, fit = proposed(target.resolved)
    if not images and not target.resolved and holds_pictures(root):
        return "", ""  # a flat album, and there is more than one way
    if not images and not added:
        return f"lorakit dataset add {name} {PHOTOS} --repeats {repeats}", "PHOTOS: your folder"
    if not images or after == "add":
        fit = "" if (root / PLACE).exists() else fit  # it is remembered
        return f"lorakit dataset prepare {name}" + (f" --fit {fit}" if fit else ""), ""
    if recut := recropped(root):
        return f"lorakit dataset prepare {name}", f"{counted(len(recut), 'picture')} cropped anew"
    if captioned < images:
        about = f"{images - captioned} of {images} have none; --tagger wd describes each picture"
        return f"lorakit dataset caption {name} --trigger-first --write", about
    if not (root / ".lorakit" / "review.json").exists():
        return f"lorakit dataset review {name}", ""
    if after != "check":
        return f"lorakit dataset check {name}", ""
    if flagged := flagged_in(root):
        about = f"{counted(len(flagged), 'picture')} flagged in the review; this leaves them out"
        return f"lorakit dataset drop {name} --flagged", about
    likely = Path("recipes") / f"{root.name}.toml"  # of a bare folder
    if not target.resolved and not likely.is_file():
        return "", ""
    recipe = target.typed if target.resolved else likely.as_posix()
    return f"lorakit plan {shlex.quote(recipe)}", ""


def next_for_plan(plan: "Plan", words: str) -> tuple[str, str]:
    """A rehearsal where gigabytes have to come first. `words`: the recipe and --set as typed."""
    from lorakit.weights.fetch import missing

    if wanted := missing(plan.weights):
        return f"lorakit rehearse {words}", f"before {wanted[0].asked} is fetched"
    return f"lorakit train {words}", ""


def next_for_run(run_dir: Path, *, after: str = "") -> tuple[str, str]:
    """The next command for a run that is done, and a word about it."""
    from lorakit.runs.find import run_name, stage_of, whole_of
    from lorakit.runs.record import read_record
    from lorakit.runs.registry import read_notes
    from lorakit.sheet.source import find_checkpoints

    try:
        run_dir = whole_of(run_dir)
        record, at_work = read_record(run_dir), stage_of(run_dir)
        name, output = shlex.quote(run_name(run_dir)), record.output_dir(run_dir)
        found = [one.path.name for one in find_checkpoints(output, record.output_name)]
        chosen = read_notes(run_dir).chosen
    except LorakitError:
        return "", ""
    if record.state != "done" or not found:
        return "", ""
    sheet = _sheet(name, record.trainer.name, record.family, record.trigger, at_work)
    if after != "sheet" and not chosen and sheet and not (at_work / "sheet.png").exists():
        draws, held = "--from-samples" not in sheet, record.value("validation_split")
        if draws and held and found[1:] and not record.judged.cells:
            return f"lorakit judge {name}", "which checkpoint, which strength"
        return sheet + " --judged" * (draws and bool(record.judged.listed)), ""
    if not chosen:
        others = f"or another: {', '.join(found[:-1][-3:])}" if found[1:] else ""
        by = [one.strength for one in record.judged.listed if one.checkpoint == found[-1]] or [0.8]
        return f"lorakit note {name} --chosen {shlex.quote(found[-1])} --strength {by[0]:g}", others
    return f"lorakit deploy {name} {_program()}", ""


def proposed(resolved: "Resolved | None") -> tuple[str, str]:
    """The repeats and the fit that the recipe's preset was written for."""
    from lorakit.recipe import presets

    if resolved is None or not presets.find(resolved.preset, resolved.root):
        return presets.REPEATS, ""
    page = presets.read(resolved.preset, resolved.root)
    return page.repeats, page.fit


def _sheet(name: str, trainer: str, family: str, trigger: str, at_work: Path) -> str:
    """Drawn by a trainer that can, for some families; else the training's own samples."""
    from lorakit.families import FAMILIES
    from lorakit.sheet.source import read_source
    from lorakit.trainers.table import TRAINERS
    from lorakit.trainers.table import trainer as named

    draws = trainer in TRAINERS and named(trainer).DRAWS_SHEETS
    if not draws and any((at_work / "output" / "sample").glob("*.png")):
        return f"lorakit sheet {name} --from-samples"
    able = FAMILIES[family].trainers if family in FAMILIES else ()
    if not any(named(one).DRAWS_SHEETS for one in able):
        return ""
    try:
        rows = read_source(at_work).rows
    except LorakitError:
        return ""
    asked = "" if rows else f" --prompts {shlex.quote(f'{trigger}, portrait')}"
    return f"lorakit sheet {name}{asked}"


def _program() -> str:
    """An interface that is installed where people install it; diffusers loads from anywhere."""
    for program, folders in PROGRAMS.items():
        for folder in folders:
            if (Path.home() / folder / "models").is_dir():
                return f"--to {program} --dir ~/{folder}"
    return "--to diffusers"
