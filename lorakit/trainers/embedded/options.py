"""Which of kohya's options this trainer implements, and the few that are its own. The catalogue is
made from these names.
"""

from __future__ import annotations

from typing import Any

MODEL = (
    "pretrained_model_name_or_path",
    "vae",
    "tokenizer_cache_dir",
    "no_half_vae",
    "disable_mmap_load_safetensors",
    "lowram",
    "highvram",
)
METADATA = (
    "metadata_title",
    "metadata_author",
    "metadata_description",
    "metadata_license",
    "metadata_tags",
    "metadata_usage_hint",
    "metadata_thumbnail",
    "metadata_merged_from",
    "metadata_trigger_phrase",
    "metadata_preprocessor",
    "metadata_is_negative_embedding",
    "training_comment",
    "no_metadata",
)
DATASET = (
    "dataset_config",
    "train_data_dir",
    "reg_data_dir",
    "resolution",
    "train_batch_size",
    "dataset_repeats",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
    "resize_interpolation",
    "caption_extension",
    "caption_separator",
    "caption_prefix",
    "caption_suffix",
    "shuffle_caption",
    "keep_tokens",
    "keep_tokens_separator",
    "secondary_separator",
    "enable_wildcard",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "token_warmup_min",
    "token_warmup_step",
    "flip_aug",
    "color_aug",
    "random_crop",
    "prior_loss_weight",
    "max_data_loader_n_workers",
    "persistent_data_loader_workers",
    "validation_split",
    "validation_seed",
)
CACHES = ("cache_latents", "cache_latents_to_disk", "vae_batch_size", "skip_cache_check")
TEXT_CACHES = ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
NETWORK = (
    "network_module",
    "network_dim",
    "network_alpha",
    "network_dropout",
    "network_args",
    "network_weights",
    "dim_from_weights",
    "network_train_unet_only",
    "network_train_text_encoder_only",
    "scale_weight_norms",
)
OPTIMISER = (
    "optimizer_type",
    "optimizer_args",
    "use_8bit_adam",
    "use_lion_optimizer",
    "learning_rate",
    "unet_lr",
    "text_encoder_lr",
    "max_grad_norm",
    "lr_scheduler",
    "lr_scheduler_type",
    "lr_scheduler_args",
    "lr_warmup_steps",
    "lr_decay_steps",
    "lr_scheduler_num_cycles",
    "lr_scheduler_power",
    "lr_scheduler_timescale",
    "lr_scheduler_min_lr_ratio",
)
TRAINING = (
    "config_file",
    "seed",
    "max_train_steps",
    "max_train_epochs",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "mixed_precision",
    "full_bf16",
    "fp8_base",
    "fp8_base_unet",
    "sdpa",
    "clip_skip",
    "max_token_length",
    "min_timestep",
    "max_timestep",
    "ddp_timeout",
)
LOSS = (
    "loss_type",
    "huber_schedule",
    "huber_c",
    "huber_scale",
    "noise_offset",
    "noise_offset_random_strength",
    "adaptive_noise_scale",
    "multires_noise_iterations",
    "multires_noise_discount",
    "ip_noise_gamma",
    "ip_noise_gamma_random_strength",
    "min_snr_gamma",
    "v_parameterization",
    "zero_terminal_snr",
    "scale_v_pred_loss_like_noise_pred",
    "v_pred_like_loss",
    "debiased_estimation_loss",
)
SAVING = (
    "output_dir",
    "output_name",
    "save_precision",
    "save_model_as",
    "save_every_n_epochs",
    "save_every_n_steps",
    "save_n_epoch_ratio",
    "save_last_n_epochs",
    "save_last_n_epochs_state",
    "save_last_n_steps",
    "save_last_n_steps_state",
    "save_state",
    "save_state_on_train_end",
    "resume",
    "skip_until_initial_step",
)
LOGGING = (
    "logging_dir",
    "log_with",
    "log_prefix",
    "log_tracker_name",
    "wandb_run_name",
    "console_log_level",
    "console_log_simple",
)
WATCHING = (
    "sample_prompts",
    "sample_every_n_steps",
    "sample_every_n_epochs",
    "sample_at_first",
    "sample_sampler",
    "validate_every_n_steps",
    "validate_every_n_epochs",
    "max_validation_steps",
)
FLUX = (
    "clip_l",
    "t5xxl",
    "ae",
    "t5xxl_max_token_length",
    "apply_t5_attn_mask",
    "text_encoder_batch_size",
    "guidance_scale",
    "timestep_sampling",
    "sigmoid_scale",
    "discrete_flow_shift",
    "model_prediction_type",
    "weighting_scheme",
    "logit_mean",
    "logit_std",
    "mode_scale",
    "model_type",
)

COMMON = (
    *MODEL,
    *METADATA,
    *DATASET,
    *CACHES,
    *TEXT_CACHES,
    *NETWORK,
    *OPTIMISER,
    *TRAINING,
    *LOSS,
    *SAVING,
    *LOGGING,
    *WATCHING,
)
SCRIPT_OPTIONS = {
    "train_network.py": COMMON,
    "sdxl_train_network.py": COMMON,
    "flux_train_network.py": (*COMMON, *FLUX),
}

OWN: dict[str, dict[str, Any]] = {
    "ema_decay": {
        "type": "float",
        "help": (
            "Average the LoRA's weights over steps with this decay (0.999); checkpoints, samples"
            " and validation use the average."
        ),
    },
    "early_stop_patience": {
        "type": "int",
        "help": "Stop after this many validations in a row without gain.",
    },
    "early_stop_min_delta": {
        "type": "float",
        "default": 0.0,
        "help": "How much lower the validation loss must be to count as gain.",
    },
    "save_best": {
        "type": "bool",
        "default": False,
        "help": "Keep the weights with the lowest validation loss as NAME-best.safetensors.",
    },
}

# Where the family's script of kohya lacks an option that ours has (train_network.py has no text
# cache), it is described here.
EXTRA: dict[str, dict[str, Any]] = {
    name: {
        "type": "bool",
        "default": False,
        "help": "Cache what the text encoders say of every caption.",
    }
    for name in TEXT_CACHES
}

# Options whose implemented values are fewer than kohya's.
CHOICES: dict[str, tuple[Any, ...]] = {
    "save_model_as": ("safetensors",),
    "model_type": ("flux",),
    "network_module": ("networks.lora", "networks.lora_flux"),
    "sample_sampler": (
        "ddim",
        "euler",
        "euler_a",
        "heun",
        "dpmsolver++",
        "k_euler",
        "k_euler_a",
    ),
}

# Taken because recipes for kohya's scripts have them; what they ask for is always so here, or has
# no meaning here.
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
    "adafactor": ("lorakit.embedded.training.adafactor", "Adafactor", "torch", False),
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
