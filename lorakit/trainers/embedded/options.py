"""What this trainer makes of its options (catalogue/embedded.toml lists them): which are
refused, and what network_args and the dataset's file may hold.
"""

from pathlib import Path

from lorakit import json_text
from lorakit.catalogue.networks import Words
from lorakit.recipe.schema import SUBSET
from lorakit.trainers.optimisers import BY_LOWER_NAME

# Options that kohya's script of a family takes and never reads: here they are refused.
WITHOUT_EFFECT: dict[str, list[str]] = json_text.read(
    Path(__file__).with_name("without_effect.json")
)

_EVERY_NETWORK = dict.fromkeys(
    (
        "rank_dropout",
        "module_dropout",
        "loraplus_lr_ratio",
        "loraplus_unet_lr_ratio",
        "loraplus_text_encoder_lr_ratio",
    ),
    "float",
)
_UNET_ARGS = {**_EVERY_NETWORK, "conv_dim": "int", "conv_alpha": "float"}
_FLUX_DIMS = (
    f"{stream}_{part}_dim" for part in ("attn", "mlp", "mod") for stream in ("img", "txt")
)
NETWORK_ARGS: dict[str, Words] = {
    "sd15": _UNET_ARGS,
    "sdxl": _UNET_ARGS,
    "flux": {
        **_EVERY_NETWORK,
        "train_blocks": "one of all, double, single",
        **dict.fromkeys((*_FLUX_DIMS, "single_dim", "single_mod_dim"), "int"),
    },
}
LYCORIS = "lycoris.kohya"
_LYCORIS_ARGS = {
    "algo": "one of lora, locon, loha, lokr",
    "preset": "one of full, full-lin, attn-mlp",
    **dict.fromkeys(("rank_dropout", "module_dropout"), "float"),
    **dict.fromkeys(("dora_wd", "rs_lora", "decompose_both", "full_matrix"), "given"),
    "factor": "int",
}
_LYCORIS_CONV = {**_LYCORIS_ARGS, "conv_dim": "int", "conv_alpha": "float"}
LYCORIS_ARGS: dict[str, Words] = {
    "sd15": _LYCORIS_CONV,
    "sdxl": _LYCORIS_CONV,
    "flux": _LYCORIS_ARGS,
}
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
DATASET_LEVEL = {
    **dict.fromkeys(("enable_bucket", "bucket_no_upscale"), "bool"),
    **dict.fromkeys(("batch_size", "min_bucket_reso", "max_bucket_reso"), "int"),
    **dict.fromkeys(("bucket_reso_steps", "validation_seed"), "int"),
    "resolution": "str",  # or numbers, as ever
    "validation_split": "float",
}
SUBSET_LEVEL = {
    **dict.fromkeys(("image_dir", "conditioning_data_dir"), "str"),
    **dict.fromkeys(("is_reg", "alpha_mask"), "bool"),
}
DATASET_EVERYWHERE = {
    key: "float" if one.type == "number" else one.type
    for key, one in SUBSET.items()
    if key not in {*DATASET_REFUSED, *SUBSET_LEVEL}
}
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
