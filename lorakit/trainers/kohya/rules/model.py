"""The model: number formats, attention, block swap, checkpointing and workers; then its own kind:
v-prediction, noise, the options of the flow-matching families.
"""

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Finder, swaps_at_most

ATTENTION = ("mem_eff_attn", "xformers", "sdpa")  # the scripts' order of preference
UNFIT = {  # number formats that a kind of device cannot do: the rule, why, what to take instead
    ("mps", "fp16"): ("fp16-device", "accelerate refuses fp16 on a Mac's GPU.", '"no"'),
    ("mps", "bf16"): ("bf16-on-mps", "accelerate refuses bf16 on a Mac's GPU.", '"no"'),
    ("cpu", "fp16"): ("fp16-on-cpu", "fp16 fails at the first step on a CPU.", '"bf16" or "no"'),
}
SHIFTED = ("sigma", "shift")  # timestep_sampling that reads discrete_flow_shift


def formats(case: Case) -> Iterator[Fault]:
    device, precision = case.machine.accelerator, case.precision
    fp16 = precision == "fp16"
    if (device, precision) in UNFIT:
        rule, what, other = UNFIT[device, precision]
        yield case.fault("mixed_precision", what, f"Set mixed_precision = {other}.", rule)
    if (device, precision) == ("cuda", "no"):
        what = "trains in 32 bits: twice the memory, a fraction of the speed."
        hint = 'Set mixed_precision = "bf16" (or "fp16" on older cards).'
        yield case.warning("mixed_precision", what, hint, "fp32-on-cuda")
    if fp16 and case.family == "sdxl" and not case.flag("no_half_vae") and not case.is_set("vae"):
        what = "SDXL's own VAE gives NaN in fp16, and the script trains on it silently."
        hint = "Set no_half_vae = true, or name the fp16-safe VAE as vae in [model]."
        yield case.fault("no_half_vae", what, hint, "sdxl-vae-nan")
    if fp16 and case.about.flow:
        what = "this family is made for bf16; fp16 overflows easily."
        yield case.warning("mixed_precision", what, 'Set mixed_precision = "bf16".', "fp16-flow")


def attention(case: Case) -> Iterator[Fault]:
    kinds = sum(map(case.flag, ATTENTION))
    if not case.about.flow and not kinds:
        what = "off: plain attention is slower and takes far more memory."
        yield case.warning("sdpa", what, "Set sdpa = true.", "attention-plain")
    if not case.about.flow and kinds > 1:
        what = "one of several kinds of attention: mem_eff_attn wins over xformers, xformers over"
        yield case.warning("sdpa", f"{what} sdpa.", "Keep one.", "attention-several")


def workers(case: Case) -> Iterator[Fault]:
    key, count = "max_data_loader_n_workers", case.number("max_data_loader_n_workers")
    stay = case.flag("persistent_data_loader_workers")
    if stay and count == 0:
        what = (
            "needs at least one worker; the script ends with a ValueError after loading the model."
        )
        hint = f"Set {key} = 1, or remove it."
        yield case.fault("persistent_data_loader_workers", what, hint, "workers-persistent")
    if count > 2 and not stay and case.machine.system != "Linux":
        what = "workers are started anew at every epoch here, each for some 6 s and 0.9 GB."
        hint = f"Set {key} = 2 or less, or persistent_data_loader_workers = true."
        yield case.warning(key, f"{case.value(key)} {what}", hint, "workers-spawned")


def noise(case: Case) -> Iterator[Fault]:
    huber = any(map(case.is_set, ("huber_c", "huber_schedule", "huber_scale")))
    if huber and case.value("loss_type") not in {"huber", "smooth_l1"}:
        what = 'has no effect unless loss_type is "huber" or "smooth_l1".'
        yield case.warning("huber_c", what, "", "huber-idle")
    low, high = case.value("min_timestep"), case.value("max_timestep")
    if low is not None and high is not None and low >= high:
        what = "must be less than max_timestep."
        yield case.fault("min_timestep", what, "Swap or remove them.", "timestep-range")


def flux(case: Case) -> Iterator[Fault]:
    if case.family != "flux":
        return
    chroma, guidance = case.value("model_type") == "chroma", case.value("guidance_scale")
    strength = case.number("guidance_scale")
    if chroma and not case.flag("apply_t5_attn_mask"):
        hint = "Set apply_t5_attn_mask = true."
        yield case.fault("apply_t5_attn_mask", "must be on for Chroma.", hint, "chroma-mask")
    if chroma and strength != 0:
        what = f"{guidance}: Chroma is trained without guidance."
        yield case.warning("guidance_scale", what, "Set guidance_scale = 0.0.", "chroma-guidance")
    if not chroma and strength != 1.0:
        what = "FLUX.1-dev LoRAs are trained at 1.0; the script's default of 3.5 blurs them."
        hint = "Set guidance_scale = 1.0."
        yield case.warning("guidance_scale", f"{guidance}: {what}", hint, "flux-guidance")
    if (prediction := case.value("model_prediction_type")) != "raw":
        what = f"{prediction}: FLUX predicts the velocity as it is."
        hint = 'Set model_prediction_type = "raw".'
        yield case.warning("model_prediction_type", what, hint, "flux-prediction")
    sampling = case.value("timestep_sampling")
    if case.is_set("discrete_flow_shift") and sampling not in SHIFTED:
        what = 'is read with timestep_sampling "shift" or "sigma" only.'
        yield case.warning("discrete_flow_shift", what, "", "flow-shift-idle")
    weighs = sampling == "sigma" or prediction == "sigma_scaled"
    if case.is_set("weighting_scheme") and not weighs:
        what = 'matters with timestep_sampling = "sigma" or model_prediction_type = "sigma_scaled"'
        yield case.warning("weighting_scheme", f"{what} only.", "", "weighting-idle")


RULES: tuple[Finder, ...] = (
    formats,
    # Both keep two double and two single blocks in place.
    swaps_at_most("swap-too-many", {"flux": 35, "hunyuan_image": 37}),
    *(attention, workers, noise, flux),
)
