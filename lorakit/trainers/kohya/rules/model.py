"""The model: number formats, attention, block swap, checkpointing and workers; then its own kind:
v-prediction, noise, the options of the flow-matching families.
"""

from lorakit.trainers.rule import (
    FLOW,
    UNET,
    Case,
    Finder,
    Rule,
    apart,
    in_precision,
    needs,
    not_on,
    on_cuda,
    swaps_at_most,
    unwanted,
    warning,
)

ATTENTION = ("mem_eff_attn", "xformers", "sdpa")  # the scripts' order of preference
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


def attentions(case: Case) -> int:
    return sum(case.flag(key) for key in ATTENTION)


def own_vae(case: Case) -> bool:
    return "vae" in case.resolved.model or case.is_set("vae")


RULES: tuple[Finder, ...] = (
    in_precision("full-fp16", "full_fp16", "fp16"),
    in_precision("full-bf16", "full_bf16", "bf16"),
    apart("full-both", "full_bf16", "full_fp16"),
    in_precision("fp8-precision", "fp8_base", "bf16", "fp16"),
    in_precision("fp8-unet-precision", "fp8_base_unet", "bf16", "fp16"),
    on_cuda("fp8-device", "fp8_base"),
    on_cuda("fp8-device", "fp8_base_unet"),
    warning(
        "fp8-unsupported",
        "fp8_base",
        lambda c: c.fp8,
        "this family's script does not support it.",
        "Remove it.",
        families=("anima",),
    ),
    warning(
        "fp8-scaled",
        "fp8_base",
        lambda c: c.fp8 and not c.flag("fp8_scaled"),
        "this family's script wants fp8_scaled instead.",
        "Set fp8_scaled = true.",
        families=("hunyuan_image",),
    ),
    not_on("fp16-device", "mps", "fp16", "accelerate refuses fp16 on a Mac's GPU."),
    not_on("bf16-on-mps", "mps", "bf16", "accelerate refuses bf16 on a Mac's GPU."),
    not_on(
        "fp16-on-cpu", "cpu", "fp16", "fp16 fails at the first step on a CPU.", '"bf16" or "no"'
    ),
    Rule(
        "fp8-mode",
        "mixed_precision",
        lambda c: c.precision == "fp8",
        "the training scripts know no, fp16 and bf16 only.",
        'Set mixed_precision = "bf16"; fp8_base = true stores the base in fp8.',
    ),
    not_on(
        "fp32-on-cuda",
        "cuda",
        "no",
        "trains in 32 bits: twice the memory, a fraction of the speed.",
        '"bf16" (or "fp16" on older cards)',
        severity="warning",
    ),
    Rule(
        "sdxl-vae-nan",
        "no_half_vae",
        lambda c: c.precision == "fp16" and not c.flag("no_half_vae") and not own_vae(c),
        "SDXL's own VAE gives NaN in fp16, and the script trains on it silently.",
        "Set no_half_vae = true, or name the fp16-safe VAE as vae in [model].",
        families=("sdxl",),
    ),
    warning(
        "fp16-flow",
        "mixed_precision",
        lambda c: c.precision == "fp16",
        "this family is made for bf16; fp16 overflows easily.",
        'Set mixed_precision = "bf16".',
        families=FLOW,
    ),
    apart("swap-offload", "blocks_to_swap", "cpu_offload_checkpointing", families=FLOW),
    # Both keep two double and two single blocks in place.
    swaps_at_most("swap-too-many", {"flux": 35, "hunyuan_image": 37}),
    on_cuda("swap-device", "blocks_to_swap", families=FLOW),
    *(
        apart("swap-unsloth", "unsloth_offload_checkpointing", other, families=("anima",))
        for other in ("blocks_to_swap", "cpu_offload_checkpointing")
    ),
    unwanted(
        "split-mode",
        "split_mode",
        "is deprecated.",
        "Write blocks_to_swap = 18 instead.",
        families=("flux",),
        severity="warning",
    ),
    apart(
        "offload-unet",
        "cpu_offload_checkpointing",
        "gradient_checkpointing",
        "the U-Net of this family cannot do it beside gradient_checkpointing: the script ends with"
        " a TypeError after loading the model.",
        families=(*UNET, "sd3"),
    ),
    needs(
        "offload-idle", "cpu_offload_checkpointing", "gradient_checkpointing", severity="warning"
    ),
    on_cuda("xformers-device", "xformers"),
    warning(
        "attention-plain",
        "sdpa",
        lambda c: attentions(c) == 0,
        "off: plain attention is slower and takes far more memory.",
        "Set sdpa = true.",
        families=UNET,
    ),
    warning(
        "attention-several",
        "sdpa",
        lambda c: attentions(c) > 1,
        "one of several kinds of attention: mem_eff_attn wins over xformers, xformers over sdpa.",
        "Keep one.",
        families=UNET,
    ),
    *(
        unwanted(
            "attention-ignored",
            key,
            "this family's script always uses torch's own attention.",
            "Remove it.",
            families=("flux",),
            severity="warning",
        )
        for key in ("xformers", "mem_eff_attn")
    ),
    Rule(
        "workers-persistent",
        "persistent_data_loader_workers",
        lambda c: (
            c.flag("persistent_data_loader_workers") and c.number("max_data_loader_n_workers") == 0
        ),
        "needs at least one worker; the script ends with a ValueError after loading the model.",
        "Set max_data_loader_n_workers = 1, or remove it.",
    ),
    warning(
        "workers-spawned",
        "max_data_loader_n_workers",
        lambda c: (
            c.number("max_data_loader_n_workers") > 2
            and not c.flag("persistent_data_loader_workers")
            and c.machine.system != "Linux"
        ),
        "{value} workers are started anew at every epoch here, each for some 6 s and 0.9 GB.",
        "Set max_data_loader_n_workers = 2 or less, or persistent_data_loader_workers = true.",
    ),
    apart("lowram-highvram", "lowram", "highvram", severity="warning"),
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
