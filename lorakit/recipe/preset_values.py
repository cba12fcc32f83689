"""What a preset comes to on its own, without a recipe: every value and the page that set it."""

from __future__ import annotations

from collections.abc import Mapping

from lorakit.errors import Fault, refused
from lorakit.families import FAMILIES
from lorakit.recipe.checks import Checker, known
from lorakit.recipe.layers import Entry, Layer, both_of_a_pair, merge
from lorakit.recipe.model import Section
from lorakit.recipe.presets import Preset
from lorakit.recipe.reading import layer_of, top_faults


def preset_values(preset: Preset) -> tuple[Mapping[str, Section], list[Fault]]:
    """Family, base and page layered and checked; placeholders stay as written."""
    if preset.family not in FAMILIES:
        where = f"{preset.document.label} [about] family"
        raise refused(
            where, f"no family is called {preset.family!r}.", known(preset.family, FAMILIES)
        )
    layers, faults = layers_of(preset, Checker(preset.family, preset.trainer))
    merged, notes = merge(layers)
    return merged, [*faults, *notes]


def layers_of(preset: Preset | None, checker: Checker) -> tuple[list[Layer], list[Fault]]:
    """The layers below a recipe: family, the preset's base, the preset."""
    source = f"family {checker.family}"
    entries = [
        Entry("train", key, value, source, source)
        for key, value in FAMILIES[checker.family].by(checker.trainer).defaults.items()
    ]
    entries.append(Entry("dataset", "caption_extension", ".txt", "lorakit", "lorakit"))
    layers, faults = [Layer(source, tuple(entries))], list[Fault]()
    if preset is None:
        return layers, faults
    faults += preset.faults
    for page in filter(None, (preset.base, preset)):
        faults += top_faults(page.document, preset=True)
        layer, more = layer_of(page.document, checker, source=f"preset {page.name}")
        layers.append(layer)
        faults += [*more, *both_of_a_pair(layer.entries)]
    return layers, faults
