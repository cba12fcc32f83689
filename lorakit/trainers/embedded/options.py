"""What this trainer makes of its options, as catalogue/embedded.toml lists them: which are refused,
and what network_args and the dataset's file may hold.
"""

from collections.abc import Mapping

from lorakit import tomllib
from lorakit.catalogue.networks import Words
from lorakit.catalogue.options import HERE, Option
from lorakit.recipe.schema import CONTROLS, FILMS, SUBSET
from lorakit.trainers.optimisers import BY_LOWER_NAME

_SAID = tomllib.read(HERE / "embedded.toml")
# Options that kohya's script of a family takes and never reads: here they are refused.
WITHOUT_EFFECT: Mapping[str, list[str]] = _SAID["without_effect"]
_ARGS: Mapping[str, Words] = _SAID["network_args"]
_UNET_ARGS = {**_ARGS["every"], **_ARGS["conv"]}
_FLUX_ARGS = {**_ARGS["every"], **_ARGS["flux"]}
NETWORK_ARGS: Mapping[str, Words] = {"sd15": _UNET_ARGS, "sdxl": _UNET_ARGS, "flux": _FLUX_ARGS}
LYCORIS = "lycoris.kohya"
_LYCORIS_CONV = {**_ARGS["lycoris"], **_ARGS["conv"]}
LYCORIS_ARGS = {"sd15": _LYCORIS_CONV, "sdxl": _LYCORIS_CONV, "flux": _ARGS["lycoris"]}
OF_LOKR, NOT_LYCORIS = _SAID["lycoris"]["of_lokr"], _SAID["lycoris"]["not_here"]
NEEDS: Mapping[str, str] = _SAID["needs"]
AT_LEAST: Mapping[str, list[str]] = _SAID["at_least"]
BASES: Mapping[str, list[str]] = _SAID["bases"]  # what a file calls its base
METADATA: Mapping[str, list[str]] = _SAID["metadata"]  # what a LoRA file says of a training

DATASET_REFUSED: list[str] = _SAID["refused"]["of_dataset"]
DATASET_LEVEL, SUBSET_LEVEL = (
    {name: Option(name, kind) for name, kind in _SAID[level].items()}
    for level in ("datasets", "subsets")
)
_ELSEWHERE = {*DATASET_REFUSED, *SUBSET_LEVEL, *FILMS, *CONTROLS}
DATASET_EVERYWHERE = {key: one for key, one in SUBSET.items() if key not in _ELSEWHERE}
NO_MASKS = "no images have masks, so it would count every pixel as ever."
HOW_MASKS = "Set alpha_mask = true, or conditioning_data_dir in [dataset.subset.FOLDER]."
NEEDS_CARD: Mapping[str, tuple[float, str]] = _SAID["needs_card"]

# lower-case name -> class
OPTIMISERS = {
    **{name: one for name, one in BY_LOWER_NAME.items() if not one.startswith("dadaptation.")},
    "adafactor": "lorakit.embedded.training.adafactor.Adafactor",
}
