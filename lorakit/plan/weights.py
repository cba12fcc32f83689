"""Which files of weights a recipe asks for, and where they are. Opens nothing."""

from __future__ import annotations

import os

from lorakit.errors import Fault, Severity
from lorakit.recipe.options import Options
from lorakit.weights.reference import WeightFile, fetched_path


def weight_files(options: Options) -> tuple[tuple[WeightFile, ...], list[Fault]]:
    """All that the recipe names, and a fault for each that is missing or malformed."""
    found: list[WeightFile] = []
    faults: list[Fault] = []
    hashes = stated_hashes(options)

    def blame(key: str, what: str, hint: str, rule: str) -> None:
        severity: Severity = "note" if rule == "weights-to-fetch" else "error"
        faults.append(options.fault(key, what, hint, rule, severity, section="model"))

    for weight in options.about.weights:
        key = weight.key
        asked = str(options.said("model", key) or "")
        from_hub = asked.startswith("hf:")
        if not asked:
            option, value = weight.idle_with
            if weight.required and not (option and options.text(option) == value):
                hint = f'Write {key} = "path" or "hf:owner/repo/file".'
                blame(key, f"is not set: {weight.what}.", hint, "weights-missing")
            continue
        path = fetched_path(asked) if from_hub else options.resolved.path_of(asked)
        if path is None:
            hint = "Write hf:owner/repo/file@revision."
            blame(key, f"{asked!r} is not a valid hub reference.", hint, "hub-reference")
            continue
        here = path.exists()
        reference = asked if from_hub else ""
        found.append(WeightFile(weight.option, asked, path, reference, here, hashes.get(key, "")))
        if here:
            continue
        if from_hub:
            what = f"{asked} is fetched when training starts, and checked then."
            blame(key, what, "", "weights-to-fetch")
        else:
            what = f"there is no {path}."
            if os.path.islink(path):
                what = f"{path} is a link to {os.readlink(path)}, which cannot be reached."
            blame(key, what, f"It should be {weight.what}.", "weights-not-there")
    return tuple(found), faults


def stated_hashes(options: Options) -> dict[str, str]:
    """[model] sha256 by the keys of [model]; one text alone is the base's."""
    given = options.said("model", "sha256") or {}
    table = given if isinstance(given, dict) else {"base": given}
    return {key: str(value) for key, value in table.items()}
