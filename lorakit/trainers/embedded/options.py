"""What this trainer makes of its options (catalogue/embedded.toml lists them): which change nothing,
which are refused, and what may stand in network_args and in the dataset's file.
"""

from __future__ import annotations

# Accepted because recipes for kohya's scripts have them; what they ask for always holds here, or
# means nothing here.
ALWAYS_SO = (
    "console_log_level",
    "console_log_simple",
    "disable_mmap_load_safetensors",
    "highvram",
    "lowram",
    "persistent_data_loader_workers",
    "save_model_as",
    "sdpa",
    "skip_cache_check",
    "skip_until_initial_step",
    "model_type",
)

# Options that kohya's script of a family takes and never reads: here they are refused.
WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "sd15": (),
    "sdxl": ("clip_skip",),
    "flux": (
        "vae",
        "clip_skip",
        "max_token_length",
        "min_timestep",
        "max_timestep",
        "noise_offset",
        "noise_offset_random_strength",
        "adaptive_noise_scale",
        "multires_noise_iterations",
        "multires_noise_discount",
        "min_snr_gamma",
        "v_parameterization",
        "zero_terminal_snr",
        "scale_v_pred_loss_like_noise_pred",
        "v_pred_like_loss",
        "debiased_estimation_loss",
        "sample_sampler",
    ),
}

_EVERY_NETWORK = {
    "rank_dropout": float,
    "module_dropout": float,
    "loraplus_lr_ratio": float,
    "loraplus_unet_lr_ratio": float,
    "loraplus_text_encoder_lr_ratio": float,
}
NETWORK_ARGS: dict[str, dict[str, type]] = {
    "sd15": {**_EVERY_NETWORK, "conv_dim": int, "conv_alpha": float},
    "flux": {
        **_EVERY_NETWORK,
        "train_blocks": str,
        "img_attn_dim": int,
        "txt_attn_dim": int,
        "img_mlp_dim": int,
        "txt_mlp_dim": int,
        "img_mod_dim": int,
        "txt_mod_dim": int,
        "single_dim": int,
        "single_mod_dim": int,
    },
}
NETWORK_ARGS["sdxl"] = NETWORK_ARGS["sd15"]
TRAIN_BLOCKS = ("all", "double", "single")

DATASET_EVERYWHERE: dict[str, str] = {
    "color_aug": "bool",
    "flip_aug": "bool",
    "random_crop": "bool",
    "shuffle_caption": "bool",
    "keep_tokens": "int",
    "keep_tokens_separator": "str",
    "secondary_separator": "str",
    "caption_separator": "str",
    "enable_wildcard": "bool",
    "token_warmup_min": "int",
    "token_warmup_step": "number",
    "caption_prefix": "str",
    "caption_suffix": "str",
    "caption_dropout_every_n_epochs": "int",
    "caption_dropout_rate": "number",
    "caption_tag_dropout_rate": "number",
    "caption_extension": "str",
    "class_tokens": "str",
    "num_repeats": "int",
    "resize_interpolation": "str",
}
DATASET_LEVEL: dict[str, str] = {
    "batch_size": "int",
    "resolution": "size",
    "enable_bucket": "bool",
    "min_bucket_reso": "int",
    "max_bucket_reso": "int",
    "bucket_reso_steps": "int",
    "bucket_no_upscale": "bool",
    "validation_split": "number",
    "validation_seed": "int",
}
SUBSET_LEVEL: dict[str, str] = {"image_dir": "str", "is_reg": "bool"}
DATASET_REFUSED = (
    "face_crop_aug_range",
    "custom_attributes",
    "cache_info",
    "network_multiplier",
    "alpha_mask",
    "metadata_file",
    "conditioning_data_dir",
)

# lower-case name -> module, class, package to install, may it see flat tensors
OPTIMISERS: dict[str, tuple[str, str, str, bool]] = {
    "adamw": ("torch.optim", "AdamW", "torch", True),
    "sgdnesterov": ("torch.optim", "SGD", "torch", True),
    "lion": ("lion_pytorch", "Lion", "lion-pytorch", True),
    "prodigy": ("prodigyopt", "Prodigy", "prodigyopt", True),
    "adamwschedulefree": ("schedulefree", "AdamWScheduleFree", "schedulefree", True),
    "radamschedulefree": ("schedulefree", "RAdamScheduleFree", "schedulefree", True),
    "sgdschedulefree": ("schedulefree", "SGDScheduleFree", "schedulefree", True),
    "adafactor": ("transformers.optimization", "Adafactor", "transformers", False),
    **{
        name.lower(): ("bitsandbytes.optim", name, "bitsandbytes", False)
        for name in (
            "AdamW8bit",
            "Lion8bit",
            "PagedAdamW8bit",
            "PagedLion8bit",
            "PagedAdamW",
            "PagedAdamW32bit",
            "AdEMAMix8bit",
            "PagedAdEMAMix8bit",
        )
    },
    "sgdnesterov8bit": ("bitsandbytes.optim", "SGD8bit", "bitsandbytes", False),
}
