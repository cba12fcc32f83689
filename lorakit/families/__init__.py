"""What is trained: one explicit table. A family owns its facts: script, weights, sizes, words."""

from __future__ import annotations

from lorakit.families.family import Family
from lorakit.families.flux import FAMILY as FLUX
from lorakit.families.kohya_only import ANIMA, HUNYUAN_IMAGE, LUMINA, SD3
from lorakit.families.sd15 import FAMILY as SD15
from lorakit.families.sdxl import FAMILY as SDXL

FAMILIES: dict[str, Family] = {
    family.name: family for family in (SD15, SDXL, FLUX, SD3, LUMINA, HUNYUAN_IMAGE, ANIMA)
}
