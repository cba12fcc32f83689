"""What is trained: one explicit table. A family owns its facts: script, weights, sizes, words."""

from lorakit.families.by_ai_toolkit import also_by_ai_toolkit
from lorakit.families.by_kohya import ANIMA, FLUX, HUNYUAN_IMAGE, LUMINA, SD3, SD15, SDXL
from lorakit.families.by_musubi import FLUX2, KONTEXT, KREA2, QWEN_IMAGE, WAN21, WAN22, ZIMAGE
from lorakit.families.family import Family

_KOHYA = (SD15, SDXL, FLUX, SD3, LUMINA, HUNYUAN_IMAGE, ANIMA)
_MUSUBI = (WAN22, WAN21, QWEN_IMAGE, ZIMAGE, FLUX2, KONTEXT, KREA2)
FAMILIES: dict[str, Family] = {
    family.name: also_by_ai_toolkit(family) for family in (*_KOHYA, *_MUSUBI)
}


def run_by(trainer: str) -> dict[str, Family]:
    """The families that this trainer can run."""
    return {name: family for name, family in FAMILIES.items() if trainer in family.trainers}
