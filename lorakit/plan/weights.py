"""Which files of weights a recipe asks for, and where they are. Looks at paths, opens nothing and
fetches nothing.
"""

from __future__ import annotations

from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.weights.reference import WeightFile, fetched_path


def weight_files(resolved: Resolved) -> tuple[tuple[WeightFile, ...], list[Fault]]:
    """Every weight of the family that the recipe names, and one fault for each that is missing,
    malformed or not there.
    """
    found: list[WeightFile] = []
    faults: list[Fault] = []
    hashes = stated_hashes(resolved)
    for weight in FAMILIES[resolved.family].weights:
        setting = resolved.model.get(weight.key)
        asked = str(setting.value) if setting else ""
        where = f"{setting.source if setting else read.recipe_name(resolved)} [model] {weight.key}"
        if not asked:
            if weight.required:
                faults.append(
                    Fault(
                        where,
                        f"is not set: {weight.what}.",
                        f'Write {weight.key} = "path" or "hf:owner/repo/file".',
                        "weights-missing",
                    )
                )
            continue
        if not asked.startswith("hf:"):
            path = resolved.path_of(asked)
            found.append(
                WeightFile(
                    weight.option,
                    asked,
                    path,
                    present=path.exists(),
                    sha256=hashes.get(weight.key, ""),
                )
            )
            if not path.exists():
                faults.append(
                    Fault(
                        where,
                        f"there is no {path}.",
                        f"It should be {weight.what}.",
                        "weights-not-there",
                    )
                )
            continue
        place = fetched_path(asked)
        if place is None:
            faults.append(
                Fault(
                    where,
                    f"{asked!r} is no hub reference.",
                    "Write hf:owner/repo/file@revision.",
                    "hub-reference",
                )
            )
            continue
        found.append(
            WeightFile(
                weight.option, asked, place, asked, place.exists(), hashes.get(weight.key, "")
            )
        )
        if not place.exists():
            faults.append(
                Fault(
                    where,
                    f"{asked} is fetched when training starts, and checked then.",
                    "",
                    "weights-to-fetch",
                    "note",
                )
            )
    return tuple(found), faults


def stated_hashes(resolved: Resolved) -> dict[str, str]:
    """[model] sha256 by the keys of [model]; one text alone is the base's."""
    setting = resolved.model.get("sha256")
    given = setting.value if setting else {}
    table = given if isinstance(given, dict) else {"base": given}
    return {key: str(value) for key, value in table.items()}
