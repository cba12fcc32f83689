"""The families that ai-toolkit runs, too, and what it calls them."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from lorakit.families.family import Family, Weight

NAME = "ai-toolkit"
EXPERTS = ("high_noise", "low_noise")  # of Wan 2.2: a file of each
# Its own word, and the folder in diffusers' form that is usually trained on; "": as for sd-scripts.
ARCH: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sd15": ("sd1", ""),
        "sdxl": ("sdxl", ""),
        "flux": ("flux", "black-forest-labs/FLUX.1-dev"),
        "flux_kontext": ("flux_kontext", "black-forest-labs/FLUX.1-Kontext-dev"),
        "flux2": ("flux2", "black-forest-labs/FLUX.2-dev"),
        "qwen_image": ("qwen_image", "Qwen/Qwen-Image"),
        "zimage": ("zimage", "Tongyi-MAI/Z-Image"),
        "wan21": ("wan21", "Wan-AI/Wan2.1-T2V-14B-Diffusers"),
        "wan22": ("wan22_14b", "ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16"),
    }
)


def also_by_ai_toolkit(family: Family) -> Family:
    """One program for all of them; weights in one folder, in place of the files by their parts."""
    if family.name not in ARCH:
        return family
    hub = ARCH[family.name][1]
    what = f"the folder of {family.title} in diffusers' form (hf:{hub}@COMMIT)"
    base = Weight("base", "name_or_path", what, example=f"models/{hub.partition('/')[2]}")
    own = replace(
        family,
        script="run.py",
        network_module="lora",
        weights=(base,) if hub else family.weights,
        defaults={},
        tokenizers=(),
        size=None,
    )
    trainers = (*family.trainers, NAME)
    return replace(family, trainers=trainers, variants={**family.variants, NAME: own})
