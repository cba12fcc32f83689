"""Which files of weights a recipe asks for, and where they are. Looks at paths, opens nothing and fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.plan import read
from lorakit.plan.model import WeightFile
from lorakit.recipe.model import Resolved

# hf:owner/repo, hf:owner/repo/folder/file.safetensors, either with @revision
REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?")


def fetched_path(reference: str) -> Path | None:
    """Where a file (or, without a file, the whole repository) from the hub is kept once fetched; None for a malformed reference."""
    match = REFERENCE.fullmatch(reference)
    if not match or {"", ".", ".."} & {*(match["file"] or "x").split("/"), *(match["revision"] or "x").split("/")}:
        return None          # no reference may lead out of the cache
    folder = cache_dir() / "weights" / match["repo"].replace("/", "--") / (match["revision"] or "main").replace("/", "--")
    return folder / match["file"] if match["file"] else folder


def weight_files(resolved: Resolved) -> tuple[tuple[WeightFile, ...], list[Fault]]:
    """Every weight of the family that the recipe names, and one fault for each that is missing, malformed or not there."""
    found: list[WeightFile] = []
    faults: list[Fault] = []
    for weight in FAMILIES[resolved.family].weights:
        setting = resolved.model.get(weight.key)
        asked = str(setting.value) if setting else ""
        where = f"{setting.source if setting else read.recipe_name(resolved)} [model] {weight.key}"
        if not asked:
            if weight.required:
                faults.append(Fault(where, f"is not set: {weight.what}.", f'Write {weight.key} = "path" or "hf:owner/repo/file".',
                                    "weights-missing"))
            continue
        if not asked.startswith("hf:"):
            path = resolved.path_of(asked)
            found.append(WeightFile(weight.option, asked, path, present=path.exists()))
            if not path.exists():
                faults.append(Fault(where, f"there is no {path}.", f"It should be {weight.what}.", "weights-not-there"))
            continue
        place = fetched_path(asked)
        if place is None:
            faults.append(Fault(where, f"{asked!r} is no hub reference.", "Write hf:owner/repo/file@revision.", "hub-reference"))
            continue
        found.append(WeightFile(weight.option, asked, place, asked, place.exists()))
        if not place.exists():
            faults.append(Fault(where, f"{asked} is fetched when training starts, and checked then.", "", "weights-to-fetch", "note"))
    return tuple(found), faults
