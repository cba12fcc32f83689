"""The model's own kind: v-prediction, noise, the options of the flow-matching families."""

from __future__ import annotations

from lorakit.trainers.rule import FLOW, UNET, Case, Finder, Rule, apart, needs, unwanted, warning

IGNORED_BY_FLOW = (
    *("min_snr_gamma", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"),
    *("debiased_estimation_loss", "noise_offset", "multires_noise_iterations"),
    *("adaptive_noise_scale", "zero_terminal_snr", "v_parameterization"),
    *("clip_skip", "max_token_length"),
)
SHIFTED = ("sigma", "shift")  # timestep_sampling that reads discrete_flow_shift


def timesteps_crossed(case: Case) -> bool:
    low, high = case.value("min_timestep"), case.value("max_timestep")
    return low is not None and high is not None and bool(low >= high)


def weighs_by_sigma(case: Case) -> bool:
    return bool(
        case.value("timestep_sampling") == "sigma"
        or case.value("model_prediction_type") == "sigma_scaled"
    )


def chroma(case: Case) -> bool:
    return bool(case.value("model_type") == "chroma")


RULES: tuple[Finder, ...] = (
    *(
        unwanted(
            "flow-no-effect",
            key,
            "has no effect in this family: its script never reads it.",
            f"Remove {key}.",
            families=FLOW,
            severity="warning",
        )
        for key in IGNORED_BY_FLOW
    ),
    unwanted("v2-in-sdxl", "v2", "is for Stable Diffusion 2, not for SDXL.", families=("sdxl",)),
    apart("clip-skip-v2", "clip_skip", "v2", families=("sd15",), severity="warning"),
    unwanted(
        "clip-skip-sdxl",
        "clip_skip",
        "does nothing useful in SDXL, which already uses the layer before the last.",
        "Remove clip_skip.",
        families=("sdxl",),
        severity="warning",
    ),
    needs("adaptive-noise", "adaptive_noise_scale", "noise_offset"),
    needs("noise-random-alone", "noise_offset_random_strength", "noise_offset", severity="warning"),
    needs(
        "ip-noise-random-alone",
        "ip_noise_gamma_random_strength",
        "ip_noise_gamma",
        severity="warning",
    ),
    needs("v-pred-scale", "scale_v_pred_loss_like_noise_pred", "v_parameterization", families=UNET),
    apart("v-pred-like", "v_pred_like_loss", "v_parameterization", families=UNET),
    unwanted(
        "no-metadata",
        "no_metadata",
        "leaves out what the LoRA was trained from; only the record will know.",
        severity="warning",
    ),
    warning(
        "zero-snr",
        "zero_terminal_snr",
        lambda c: c.flag("zero_terminal_snr") and not c.flag("v_parameterization"),
        "is meant for v-prediction models; with noise prediction the last step teaches nothing.",
        "Remove it, or set v_parameterization.",
        families=UNET,
    ),
    warning(
        "huber-idle",
        "huber_c",
        lambda c: (
            any(map(c.is_set, ("huber_c", "huber_schedule", "huber_scale")))
            and c.value("loss_type") not in {"huber", "smooth_l1"}
        ),
        'has no effect unless loss_type is "huber" or "smooth_l1".',
    ),
    Rule(
        "timestep-range",
        "min_timestep",
        timesteps_crossed,
        "must be less than max_timestep.",
        "Swap or remove them.",
    ),
    Rule(
        "chroma-mask",
        "apply_t5_attn_mask",
        lambda c: chroma(c) and not c.flag("apply_t5_attn_mask"),
        "must be on for Chroma.",
        "Set apply_t5_attn_mask = true.",
        families=("flux",),
    ),
    warning(
        "chroma-guidance",
        "guidance_scale",
        lambda c: chroma(c) and c.number("guidance_scale") != 0,
        "{value}: Chroma is trained without guidance.",
        "Set guidance_scale = 0.0.",
        families=("flux",),
    ),
    warning(
        "flux-guidance",
        "guidance_scale",
        lambda c: not chroma(c) and c.number("guidance_scale") != 1.0,
        "{value}: FLUX.1-dev LoRAs are trained at 1.0; the script's default of 3.5 blurs them.",
        "Set guidance_scale = 1.0.",
        families=("flux",),
    ),
    warning(
        "flux-prediction",
        "model_prediction_type",
        lambda c: c.value("model_prediction_type") != "raw",
        "{value}: FLUX predicts the velocity as it is.",
        'Set model_prediction_type = "raw".',
        families=("flux",),
    ),
    warning(
        "flow-shift-idle",
        "discrete_flow_shift",
        lambda c: c.is_set("discrete_flow_shift") and c.value("timestep_sampling") not in SHIFTED,
        'is read with timestep_sampling "shift" or "sigma" only.',
        families=("flux",),
    ),
    warning(
        "weighting-idle",
        "weighting_scheme",
        lambda c: c.is_set("weighting_scheme") and not weighs_by_sigma(c),
        'matters with timestep_sampling = "sigma" or model_prediction_type = "sigma_scaled" only.',
        families=("flux",),
    ),
    Rule(
        "pickle-out",
        "save_model_as",
        lambda c: c.value("save_model_as") in {"ckpt", "pt"},
        "{value} is a pickle and carries no metadata; nothing could be checked afterwards.",
        'Set save_model_as = "safetensors".',
    ),
)
