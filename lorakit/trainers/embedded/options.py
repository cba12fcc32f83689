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
OF_LOKR = ("factor", "decompose_both", "full_matrix")
# What LyCORIS does not read, or does in a way of its own.
NOT_LYCORIS = ("network_dropout", "scale_weight_norms", "dim_from_weights")

DATASET_REFUSED = (
    "face_crop_aug_range",
    "custom_attributes",
    "cache_info",
    "network_multiplier",
    "metadata_file",
)
DATASET_LEVEL, SUBSET_LEVEL = (
    {name: Option(name, kind) for name, kind in _SAID[level].items()}
    for level in ("datasets", "subsets")
)
_ELSEWHERE = {*DATASET_REFUSED, *SUBSET_LEVEL, *FILMS, *CONTROLS}
DATASET_EVERYWHERE = {key: one for key, one in SUBSET.items() if key not in _ELSEWHERE}
NO_MASKS = "no images have masks, so it would count every pixel as ever."
HOW_MASKS = "Set alpha_mask = true, or conditioning_data_dir in [dataset.subset.FOLDER]."
# frozen_linear: the compute capability that its products need
NEEDS_CARD = {
    "fp8": (8.9, "RTX 40, Hopper and newer cards"),
    "int8": (8.0, "RTX 30, A100 and newer cards"),
}

# lower-case name -> class
OPTIMISERS = {
    **{name: one for name, one in BY_LOWER_NAME.items() if not one.startswith("dadaptation.")},
    "adafactor": "lorakit.embedded.training.adafactor.Adafactor",
}
