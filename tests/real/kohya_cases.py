"""What both are asked: plain data, read by the test in our Python and by kohya_peer.py in that of sd-scripts."""

from __future__ import annotations

from typing import Any

SEEDS = range(12)
CAPTIONS = (
    "zwx, a {red|blue} fox, {{x}}, sitting ;;; end",
    "one ||| two, three, four, five ||| six\nsecond, line",
    "single",
    "a;b;c, d",
)
CAPTION: dict[str, Any] = {
    "caption_prefix": None,
    "caption_suffix": None,
    "caption_separator": ",",
    "secondary_separator": None,
    "keep_tokens": 0,
    "keep_tokens_separator": None,
    "shuffle_caption": False,
    "enable_wildcard": False,
    "caption_dropout_rate": 0.0,
    "caption_dropout_every_n_epochs": 0,
    "caption_tag_dropout_rate": 0.0,
    "token_warmup_min": 1,
    "token_warmup_step": 0,
}
CAPTION_RULES: tuple[dict[str, Any], ...] = (
    {},
    {"caption_prefix": "pre", "caption_suffix": "post"},
    {"enable_wildcard": True},
    {"shuffle_caption": True, "keep_tokens": 1},
    {"shuffle_caption": True, "keep_tokens_separator": "|||", "caption_prefix": "pre"},
    {"caption_dropout_rate": 0.5, "shuffle_caption": True},
    {"caption_tag_dropout_rate": 0.4, "keep_tokens": 2},
    {"secondary_separator": ";;;", "shuffle_caption": True},
    {"caption_separator": ";", "shuffle_caption": True},
    {"token_warmup_step": 20, "token_warmup_min": 2},
    {"token_warmup_step": 0.5},
    {"caption_dropout_every_n_epochs": 2},
    {"enable_wildcard": True, "shuffle_caption": True, "caption_tag_dropout_rate": 0.2},
)
PLACE = {"current_epoch": 4, "current_step": 7, "max_train_steps": 60}

LOSS: dict[str, Any] = {
    "noise_offset": None,
    "noise_offset_random_strength": False,
    "adaptive_noise_scale": None,
    "multires_noise_iterations": None,
    "multires_noise_discount": 0.3,
    "ip_noise_gamma": None,
    "ip_noise_gamma_random_strength": False,
    "min_timestep": None,
    "max_timestep": None,
    "min_snr_gamma": None,
    "v_parameterization": False,
    "scale_v_pred_loss_like_noise_pred": False,
    "v_pred_like_loss": None,
    "debiased_estimation_loss": False,
    "zero_terminal_snr": False,
    "loss_type": "l2",
    "huber_c": 0.1,
    "huber_scale": 1.0,
    "huber_schedule": "snr",
    "timestep_sampling": "sigma",
    "sigmoid_scale": 1.0,
    "discrete_flow_shift": 3.0,
    "weighting_scheme": "uniform",
    "logit_mean": 0.0,
    "logit_std": 1.0,
    "mode_scale": 1.29,
    "model_prediction_type": "raw",
}
DIFFUSION: tuple[dict[str, Any], ...] = (
    {},
    {"noise_offset": 0.1},
    {"noise_offset": 0.1, "noise_offset_random_strength": True},
    {"noise_offset": 0.1, "adaptive_noise_scale": 0.2},
    {"multires_noise_iterations": 6, "multires_noise_discount": 0.4},
    {"ip_noise_gamma": 0.1},
    {"ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True},
    {"min_timestep": 200, "max_timestep": 300},
    {"min_timestep": 400, "max_timestep": 400},
    {"min_snr_gamma": 5.0},
    {"min_snr_gamma": 5.0, "v_parameterization": True},
    {"v_parameterization": True, "zero_terminal_snr": True, "min_snr_gamma": 1.0},
    {"v_parameterization": True, "scale_v_pred_loss_like_noise_pred": True},
    {"v_pred_like_loss": 0.3},
    {"debiased_estimation_loss": True},
    {"debiased_estimation_loss": True, "v_parameterization": True},
    {"loss_type": "l1"},
    *(
        {"loss_type": kind, "huber_schedule": schedule, "huber_c": 0.2, "huber_scale": 1.5}
        for kind in ("huber", "smooth_l1")
        for schedule in ("snr", "exponential", "constant")
    ),
    {"loss_type": "huber", "zero_terminal_snr": True, "v_parameterization": True},
)
FLOW: tuple[dict[str, Any], ...] = (
    {},
    {"ip_noise_gamma": 0.1},
    {"discrete_flow_shift": 1.7},
    *(
        {"timestep_sampling": name, "sigmoid_scale": 0.8}
        for name in ("uniform", "sigmoid", "shift", "flux_shift")
    ),
    *(
        {
            "weighting_scheme": name,
            "model_prediction_type": "sigma_scaled",
            "logit_mean": 0.2,
            "logit_std": 0.9,
        }
        for name in ("logit_normal", "mode", "cosmap", "sigma_sqrt", "none")
    ),
    {"model_prediction_type": "additive"},
    {"loss_type": "smooth_l1", "huber_schedule": "exponential"},
)
DIFFUSION_SHAPE, FLOW_SHAPE = (3, 4, 12, 20), (3, 16, 12, 20)

RATE: dict[str, Any] = {
    "lr_scheduler_type": None,
    "lr_scheduler_args": None,
    "lr_warmup_steps": 0,
    "lr_decay_steps": 0,
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1,
    "lr_scheduler_timescale": None,
    "lr_scheduler_min_lr_ratio": None,
    "learning_rate": 1e-3,
    "max_train_steps": 50,
    "optimizer_type": "AdamW",
    "optimizer_schedulefree_wrapper": False,
}
RATES: tuple[dict[str, Any], ...] = tuple(
    {**RATE, **more}
    for more in (
        {"lr_scheduler": "constant"},
        {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 7},
        {"lr_scheduler": "linear"},
        {"lr_scheduler": "linear", "lr_warmup_steps": 0.13},
        {"lr_scheduler": "cosine", "lr_warmup_steps": 5},
        {
            "lr_scheduler": "cosine_with_restarts",
            "lr_scheduler_num_cycles": 3,
            "lr_warmup_steps": 4,
        },
        {"lr_scheduler": "polynomial", "lr_scheduler_power": 2, "lr_warmup_steps": 3},
        {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 6},
        {"lr_scheduler": "inverse_sqrt", "lr_scheduler_timescale": 11},
        {
            "lr_scheduler": "cosine_with_min_lr",
            "lr_scheduler_min_lr_ratio": 0.1,
            "lr_scheduler_num_cycles": 2,
            "lr_warmup_steps": 5,
        },
        {
            "lr_scheduler": "warmup_stable_decay",
            "lr_warmup_steps": 5,
            "lr_decay_steps": 0.3,
            "lr_scheduler_min_lr_ratio": 0.05,
        },
        {
            "lr_scheduler": "warmup_stable_decay",
            "lr_warmup_steps": 0.1,
            "lr_decay_steps": 12,
            "lr_scheduler_num_cycles": 2,
        },
        {
            "lr_scheduler": "piecewise_constant",
            "lr_scheduler_args": ["step_rules='1:10,0.1:20,0.01'"],
        },
    )
)
PROCESSES = (1, 3)

SIZES = (
    ((640, 480), (512, 512)),
    ((300, 900), (384, 640)),
    ((1000, 1001), (1024, 1024)),
    ((512, 512), (448, 576)),
    ((97, 64), (128, 64)),
)
SPLITS = ((4, 0.25, 3), (10, 0.3, 0), (7, 0.5, 11), (100, 0.1, 5))  # images, share, seed
NORMS = (0.5, 2.0)
