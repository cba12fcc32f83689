"""The model: number formats, attention, block swap, checkpointing and workers; then its own kind:
v-prediction, noise, the options of the flow-matching families.
"""

from lorakit.trainers.rule import UNET, Case, Finder, Rule, not_on, swaps_at_most, warning

ATTENTION = ("mem_eff_attn", "xformers", "sdpa")  # the scripts' order of preference
SHIFTED = ("sigma", "shift")  # timestep_sampling that reads discrete_flow_shift


def timesteps_crossed(case: Case) -> bool:
    low, high = case.value("min_timestep"), case.value("max_timestep")
    return low is not None and high is not None and bool(low >= high)


def chroma(case: Case) -> bool:
    return bool(case.value("model_type") == "chroma")


def attentions(case: Case) -> int:
    return sum(case.flag(key) for key in ATTENTION)


RULES: tuple[Finder, ...] = (
    not_on("fp16-device", "mps", "fp16", "accelerate refuses fp16 on a Mac's GPU."),
    not_on("bf16-on-mps", "mps", "bf16", "accelerate refuses bf16 on a Mac's GPU."),
    not_on(
        "fp16-on-cpu", "cpu", "fp16", "fp16 fails at the first step on a CPU.", '"bf16" or "no"'
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
        lambda c: c.precision == "fp16" and not c.flag("no_half_vae") and not c.is_set("vae"),
        "SDXL's own VAE gives NaN in fp16, and the script trains on it silently.",
        "Set no_half_vae = true, or name the fp16-safe VAE as vae in [model].",
        families=("sdxl",),
    ),
    # Both keep two double and two single blocks in place.
    swaps_at_most("swap-too-many", {"flux": 35, "hunyuan_image": 37}),
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
        "flux-guidance",
        "guidance_scale",
        lambda c: not chroma(c) and c.number("guidance_scale") != 1.0,
        "{value}: FLUX.1-dev LoRAs are trained at 1.0; the script's default of 3.5 blurs them.",
        "Set guidance_scale = 1.0.",
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
        lambda c: (
            c.is_set("weighting_scheme")
            and c.text("timestep_sampling") != "sigma"
            and c.text("model_prediction_type") != "sigma_scaled"
        ),
        'matters with timestep_sampling = "sigma" or model_prediction_type = "sigma_scaled" only.',
        families=("flux",),
    ),
)
