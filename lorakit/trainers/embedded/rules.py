"""What the embedded trainer refuses, said before anything starts. No torch: the plan asks it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorakit.errors import Fault, did_you_mean
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved
from lorakit.trainers import catalogue
from lorakit.trainers.embedded import options

FAMILY_OF = {"train_network.py": "sd15", "sdxl_train_network.py": "sdxl", "flux_train_network.py": "flux"}
REQUIRED = ("pretrained_model_name_or_path", "network_module", "output_dir", "output_name")
MODULES = {"sd15": "networks.lora", "sdxl": "networks.lora", "flux": "networks.lora_flux"}


def check(resolved: Resolved, machine: Machine) -> list[Fault]:
    """Faults of a resolved recipe that says trainer = "embedded"."""
    family = FAMILIES[resolved.family]
    if resolved.family not in MODULES:
        return [Fault(str(resolved.file), f"the embedded trainer does not train {family.title}.", 'Use trainer = "kohya".')]
    # Names are checked with the recipe, against the catalogue; here are the values and what they mean together.
    values = {name: option.default for name, option in catalogue.options("embedded", family.script).items()}
    values |= {key: setting.value for key, setting in resolved.train.items()}
    values["network_module"] = values["network_module"] or family.network_module
    faults = []
    faults += faults_of(family.script, values, planned=True)
    if values.get("mixed_precision") == "fp16" and machine.accelerator != "cuda":
        faults.append(Fault("mixed_precision", f'"fp16" does not work on {machine.accelerator}.', 'Use "no" or, on the CPU, "bf16".'))
    return faults


def faults_of(script: str, values: Mapping[str, Any], *, planned: bool = False) -> list[Fault]:
    """Combinations and choices. `planned`: the plan fills in paths and names, so their absence is no fault yet."""
    family = FAMILY_OF[script]
    faults = _choices(script, values)
    if not planned:
        faults += [Fault(name, "must be set.") for name in REQUIRED if not values.get(name)]
    if values.get("network_module") and values["network_module"] != MODULES[family]:
        faults.append(Fault("network_module", f"must be {MODULES[family]} for this script."))
    faults += _network_args(family, values.get("network_args") or [])
    faults += _text_cache(family, values)
    faults += _combinations(values)
    if family == "flux" and values.get("loss_type") in ("huber", "smooth_l1") and values.get("huber_schedule") == "snr":
        faults.append(Fault("huber_schedule", '"snr" has no meaning for FLUX.', 'Use "constant" or "exponential".'))
    return faults




def _choices(script: str, values: Mapping[str, Any]) -> list[Fault]:
    faults = []
    for name, option in catalogue.options("embedded", script).items():
        value = values.get(name)
        if option.choices and value is not None and value not in option.choices:
            shown = ", ".join(str(choice) for choice in option.choices if choice is not None)
            faults.append(Fault(f"{name} = {value!r}", f"must be one of {shown}."))
    return faults


def _network_args(family: str, arguments: list[str]) -> list[Fault]:
    faults = []
    for argument in arguments:
        name, equals, _ = str(argument).partition("=")
        if not equals:
            faults.append(Fault(f"network_args {argument!r}", "must read name=value."))
        elif name not in options.NETWORK_ARGS[family]:
            faults.append(Fault(f"network_args {name}", "the embedded trainer does not know it.",
                                did_you_mean(name, options.NETWORK_ARGS[family]), rule="not-implemented"))
    return faults


def _text_cache(family: str, values: Mapping[str, Any]) -> list[Fault]:
    cached = values.get("cache_text_encoder_outputs") or values.get("cache_text_encoder_outputs_to_disk")
    if not cached:
        return []
    faults = [
        Fault(name, "every step would see another caption, so the text encoder's outputs cannot be cached.",
              "Drop cache_text_encoder_outputs or this option.")
        for name in ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step") if values.get(name)
    ]
    if family != "flux" and not values.get("network_train_unet_only"):
        faults.append(Fault("cache_text_encoder_outputs", "a text encoder that is trained cannot be cached.",
                            "Set network_train_unet_only."))
    return faults


def _combinations(values: Mapping[str, Any]) -> list[Fault]:
    faults = []
    get = values.get

    def refuse(condition: object, where: str, what: str, hint: str = "") -> None:
        if condition:
            faults.append(Fault(where, what, hint))

    refuse(get("full_bf16") and get("mixed_precision") != "bf16", "full_bf16", 'needs mixed_precision = "bf16".')
    for name in ("fp8_base", "fp8_base_unet"):
        refuse(get(name) and get("mixed_precision") in (None, "no"), name, 'needs mixed_precision = "bf16" or "fp16".')
    refuse((get("cache_latents") or get("cache_latents_to_disk")) and (get("color_aug") or get("random_crop")), "cache_latents",
           "cached latents allow neither color_aug nor random_crop.")
    refuse(get("adaptive_noise_scale") and not get("noise_offset"), "adaptive_noise_scale", "needs noise_offset.")
    refuse(get("scale_v_pred_loss_like_noise_pred") and not get("v_parameterization"), "scale_v_pred_loss_like_noise_pred",
           "needs v_parameterization.")
    refuse(get("zero_terminal_snr") and not get("v_parameterization"), "zero_terminal_snr",
           "without v_parameterization the last timestep has no signal and noise prediction divides by zero.", "Set v_parameterization.")
    sampling = get("sample_every_n_steps") or get("sample_every_n_epochs") or get("sample_at_first")
    refuse(sampling and not get("sample_prompts"), "sample_prompts", "must be set when samples are asked for.")
    refuse(get("max_train_epochs") is not None and float(get("max_train_epochs") or 0) < 1, "max_train_epochs", "must be at least 1.")
    refuse(get("max_train_epochs") is None and float(get("max_train_steps") or 0) < 1, "max_train_steps", "must be at least 1.")
    for name in ("save_every_n_steps", "save_every_n_epochs", "validate_every_n_steps", "validate_every_n_epochs"):
        refuse(get(name) is not None and float(get(name) or 0) < 1, name, "must be at least 1.")
    refuse(get("network_train_unet_only") and get("network_train_text_encoder_only"), "network_train_unet_only",
           "together with network_train_text_encoder_only nothing is left to train.")
    stops = get("early_stop_patience") or get("save_best")
    refuse(stops and not get("dataset_config") and not get("validation_split"), "early_stop_patience / save_best",
           "need a validation loss.", "Set validation_split.")
    decay = float(get("ema_decay") or 0)
    refuse(get("ema_decay") is not None and not 0 < decay < 1, "ema_decay", f"{decay} must lie between 0 and 1.", "0.999 is usual.")
    split = get("validation_split") or 0
    refuse(not 0 <= split < 1, "validation_split", f"{split} must be at least 0 and below 1.")
    refuse((get("gradient_accumulation_steps") or 1) < 1, "gradient_accumulation_steps", "must be at least 1.")
    refuse(get("max_token_length") not in (None, 75, 150, 225), "max_token_length", "must be 75, 150 or 225.")
    return faults
