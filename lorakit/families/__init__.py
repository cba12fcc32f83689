"""What is trained: one module per family, one explicit table.

A family decides the script, the network module and the weights needed.
"""

from __future__ import annotations

from lorakit.families import anima, flux, hunyuan_image, lumina, sd3, sd15, sdxl
from lorakit.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        sd15.FAMILY,
        sdxl.FAMILY,
        flux.FAMILY,
        sd3.FAMILY,
        lumina.FAMILY,
        hunyuan_image.FAMILY,
        anima.FAMILY,
    )
}
