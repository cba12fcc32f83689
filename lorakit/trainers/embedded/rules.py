"""What the embedded trainer refuses, said before anything starts. No torch: the plan asks it too."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from lorakit.catalogue import options as catalogue
from lorakit.catalogue.options import Option
from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved
from lorakit.trainers.embedded import options
from lorakit.trainers.embedded.schedulers import (
    keeps_its_own_pace,
    keyword_arguments,
    optimizer_type,
    schedule,
)
from lorakit.trainers.optimisers import optimizer_name
from lorakit.trainers.rule import Case

FAMILY_OF = {
    "train_network.py": "sd15",
    "sdxl_train_network.py": "sdxl",
    "flux_train_network.py": "flux",
}
REQUIRED = ("pretrained_model_name_or_path", "network_module", "output_dir", "output_name")
MODULES = {"sd15": "networks.lora", "sdxl": "networks.lora", "flux": "networks.lora_flux"}
AT_LEAST = {
    **dict.fromkeys(
        (
            "train_batch_size",
            "vae_batch_size",
            "text_encoder_batch_size",
            "gradient_accumulation_steps",
            "max_train_steps",
            "max_train_epochs",
            "save_every_n_steps",
            "save_every_n_epochs",
            "save_n_epoch_ratio",
            "validate_every_n_steps",
            "validate_every_n_epochs",
            "max_validation_steps",
            "early_stop_patience",
            "network_dim",
            "clip_skip",
            "dataset_repeats",
            "t5xxl_max_token_length",
        ),
        1,
    ),
    **dict.fromkeys(
        (
            "lr_warmup_steps",
            "lr_decay_steps",
            "learning_rate",
            "unet_lr",
            "max_grad_norm",
            "min_timestep",
        ),
        0,
    ),
}
SHARES = (
    "validation_split",
    "network_dropout",
)  # from 0 to less than 1; the first would leave nothing to learn from


def check(resolved: Resolved, machine: Machine) -> list[Fault]:
    """Faults of a resolved recipe that says trainer = "embedded"."""
    family = FAMILIES[resolved.family]
    if resolved.family not in MODULES:
        return [
            Fault(
                str(resolved.file),
                f"the embedded trainer does not train {family.title}.",
                'Use trainer = "kohya".',
            )
        ]
    # Names are checked with the recipe, against the catalogue; here are the values and what they
    # mean together.
    values = {
        name: option.default
        for name, option in catalogue.options("embedded", family.script).items()
    }
    values |= {key: setting.value for key, setting in resolved.train.items()}
    values["network_module"] = values["network_module"] or family.network_module
    faults = faults_of(family.script, values, planned=True)
    faults += optimizer_name(Case(resolved, machine))
    if values.get("mixed_precision") == "fp16" and machine.accelerator != "cuda":
        faults.append(
            Fault(
                "mixed_precision",
                f'"fp16" does not work well on {machine.accelerator}.',
                'Use "no" or, on the CPU, "bf16".',
            )
        )
    return faults


def faults_of(script: str, values: Mapping[str, Any], *, planned: bool = False) -> list[Fault]:
    """Combinations and choices. `planned`: the plan fills in paths and names, so their absence is
    no fault yet.
    """
    family = FAMILY_OF[script]
    known = catalogue.options("embedded", script)
    faults = [*_choices(known, values), *_ranges(values)]
    if not planned:
        faults += [Fault(name, "must be set.") for name in REQUIRED if not values.get(name)]
        faults += _packages(values)
    if values.get("network_module") and values["network_module"] != MODULES[family]:
        faults.append(Fault("network_module", f"must be {MODULES[family]} for this script."))
    faults += [
        Fault(
            name,
            f"has no effect on {FAMILIES[family].title}: kohya's script ignores it, too.",
            f"Remove {name}.",
            "no-effect",
        )
        for name in options.WITHOUT_EFFECT[family]
        if values.get(name) not in (None, False, known[name].default)
    ]
    faults += _network_args(family, values.get("network_args") or [])
    faults += _pace(values)
    if family != "flux" and len(set(values.get("text_encoder_lr") or [])) > 1:
        faults.append(
            Fault(
                "text_encoder_lr",
                "only the first of several rates is read, as by networks.lora.",
                "Write one rate.",
            )
        )
    faults += _text_cache(family, values)
    faults += _combinations(values)
    if (
        family == "flux"
        and values.get("loss_type") in ("huber", "smooth_l1")
        and values.get("huber_schedule") == "snr"
    ):
        faults.append(
            Fault(
                "huber_schedule",
                '"snr" has no meaning for FLUX.',
                'Use "constant" or "exponential".',
            )
        )
    return faults


def _packages(values: Mapping[str, Any]) -> Iterator[Fault]:
    """What must be installed, known before gigabytes are read."""
    module, _, package, _ = options.OPTIMISERS.get(
        optimizer_type(argparse.Namespace(**values)).lower(), ("", "", "", True)
    )
    needed = [("optimizer_type", module, package)] if module else []
    logged = {"all": ("tensorboard", "wandb")}.get(
        values.get("log_with") or "", (values.get("log_with") or "tensorboard",)
    )
    needed += [
        ("log_with", name, name)
        for name in logged
        if values.get("log_with") or values.get("logging_dir")
    ]
    for option, module, package in needed:
        if find_spec(module.partition(".")[0]) is None:
            yield Fault(
                option,
                f"needs the package {package}, which is not installed.",
                f"pip install {package}",
            )


def _choices(known: Mapping[str, Option], values: Mapping[str, Any]) -> Iterator[Fault]:
    for name, option in known.items():
        value = values.get(name)
        if option.choices and value is not None and value not in option.choices:
            shown = ", ".join(str(choice) for choice in option.choices if choice is not None)
            yield Fault(f"{name} = {value!r}", f"must be one of {shown}.")


def _ranges(values: Mapping[str, Any]) -> Iterator[Fault]:
    for name, least in AT_LEAST.items():
        if values.get(name) is not None and values[name] < least:
            yield Fault(name, f"must be at least {least}.")
    for name in SHARES:
        if not 0 <= (values.get(name) or 0) < 1:
            yield Fault(name, f"{values[name]} must be at least 0 and below 1.")
    for name in ("lr_warmup_steps", "lr_decay_steps"):
        value = values.get(name)
        if isinstance(value, float) and value >= 1:
            yield Fault(
                name,
                f"{value} with a decimal point is a share of the whole run.",
                f"Write {value:.0f} for steps.",
            )
    low, high = (
        values.get("min_timestep") or 0,
        1000 if values.get("max_timestep") is None else values["max_timestep"],
    )
    if not low <= high <= 1000 or low == 1000:
        yield Fault(
            "min_timestep / max_timestep",
            f"{low} to {high} must lie within 0 and 1000, the smaller first.",
        )


def _network_args(family: str, arguments: list[str]) -> Iterator[Fault]:
    known = options.NETWORK_ARGS[family]
    for argument in arguments:
        name, equals, text = str(argument).partition("=")
        if not equals:
            yield Fault(f"network_args {argument!r}", "must read name=value.")
        elif name not in known:
            hint = "Write network_dropout." if name == "dropout" else did_you_mean(name, known)
            yield Fault(
                f"network_args {name}",
                "the embedded trainer does not know it.",
                hint,
                "not-implemented",
            )
        elif not _readable(known[name], text):
            yield Fault(
                f"network_args {name}",
                f"{text!r} is not {'a whole number' if known[name] is int else 'a number'}.",
            )
        elif name == "train_blocks" and text not in options.TRAIN_BLOCKS:
            yield Fault(
                f"network_args {name}",
                f"{text!r} must be one of {', '.join(options.TRAIN_BLOCKS)}.",
            )
        elif name in ("rank_dropout", "module_dropout") and not 0 <= float(text) < 1:
            yield Fault(f"network_args {name}", f"{text} must be at least 0 and below 1.")
    names = [str(argument).partition("=")[0] for argument in arguments]
    if "conv_alpha" in names and "conv_dim" not in names:
        yield Fault("network_args conv_alpha", "has no effect without conv_dim.")


def _readable(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _pace(values: Mapping[str, Any]) -> list[Fault]:
    """The optimiser's and the schedule's own arguments, and whether the two agree on who decides
    the learning rate.
    """
    faults = []
    for option in ("optimizer_args", "lr_scheduler_args"):
        for pair in values.get(option) or []:
            try:
                keyword_arguments([pair])
            except (ValueError, SyntaxError):
                what = "must read name=value, the value as Python writes it."
                faults.append(Fault(f"{option} {pair!r}", what, 'Example: "weight_decay=0.01".'))
    if faults:
        return faults
    name, foreign, own_args = (
        values["lr_scheduler"],
        values.get("lr_scheduler_type"),
        values.get("lr_scheduler_args"),
    )
    if own_args and not foreign and name != "piecewise_constant":
        faults.append(
            Fault(
                "lr_scheduler_args",
                f"has no effect on lr_scheduler = {name!r}.",
                "lr_scheduler_type and piecewise_constant read it.",
            )
        )
    pacemaker = keeps_its_own_pace(argparse.Namespace(**values)) or foreign
    if pacemaker and values.get("lr_warmup_steps"):
        faults.append(
            Fault(
                "lr_warmup_steps",
                f"has no effect: {pacemaker} decides the learning rate by itself.",
            )
        )
    if not pacemaker:
        try:
            schedule(argparse.Namespace(**values), 1000)
        except RecipeError as error:
            faults += error.faults
    return faults


def _text_cache(family: str, values: Mapping[str, Any]) -> list[Fault]:
    cached = values.get("cache_text_encoder_outputs") or values.get(
        "cache_text_encoder_outputs_to_disk"
    )
    if not cached:
        return []
    faults = [
        Fault(
            name,
            "every step would see another caption, so the text encoder's outputs cannot be cached.",
            "Drop cache_text_encoder_outputs or this option.",
        )
        for name in ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step")
        if values.get(name)
    ]
    if family != "flux" and not values.get("network_train_unet_only"):
        faults.append(
            Fault(
                "cache_text_encoder_outputs",
                "a text encoder that is trained cannot be cached.",
                "Set network_train_unet_only.",
            )
        )
    return faults


def _combinations(values: Mapping[str, Any]) -> list[Fault]:
    faults = []
    get = values.get

    def refuse(condition: object, where: str, what: str, hint: str = "") -> None:
        if condition:
            faults.append(Fault(where, what, hint))

    refuse(
        get("full_bf16") and get("mixed_precision") != "bf16",
        "full_bf16",
        'needs mixed_precision = "bf16".',
    )
    for name in ("fp8_base", "fp8_base_unet"):
        refuse(
            get(name) and get("mixed_precision") in (None, "no"),
            name,
            'needs mixed_precision = "bf16" or "fp16".',
        )
    refuse(
        (get("cache_latents") or get("cache_latents_to_disk"))
        and (get("color_aug") or get("random_crop")),
        "cache_latents",
        "cached latents allow neither color_aug nor random_crop.",
    )
    for name in ("adaptive_noise_scale", "noise_offset_random_strength"):
        refuse(get(name) and not get("noise_offset"), name, "needs noise_offset.")
    refuse(
        get("ip_noise_gamma_random_strength") and not get("ip_noise_gamma"),
        "ip_noise_gamma_random_strength",
        "needs ip_noise_gamma.",
    )
    refuse(
        get("scale_v_pred_loss_like_noise_pred") and not get("v_parameterization"),
        "scale_v_pred_loss_like_noise_pred",
        "needs v_parameterization.",
    )
    refuse(
        get("v_pred_like_loss") and get("v_parameterization"),
        "v_pred_like_loss",
        "cannot be used with v_parameterization.",
    )
    refuse(
        get("zero_terminal_snr") and not get("v_parameterization"),
        "zero_terminal_snr",
        "without v_parameterization the last timestep has no signal and noise prediction divides by"
        " zero.",
        "Set v_parameterization.",
    )
    sampling = get("sample_every_n_steps") or get("sample_every_n_epochs") or get("sample_at_first")
    refuse(
        sampling and not get("sample_prompts"),
        "sample_prompts",
        "must be set when samples are asked for.",
    )
    refuse(
        get("network_train_unet_only") and get("network_train_text_encoder_only"),
        "network_train_unet_only",
        "together with network_train_text_encoder_only nothing is left to train.",
    )
    refuse(
        get("dim_from_weights") and not get("network_weights"),
        "dim_from_weights",
        "needs network_weights.",
    )
    stops = get("early_stop_patience") or get("save_best")
    refuse(
        stops and not get("dataset_config") and not get("validation_split"),
        "early_stop_patience / save_best",
        "need a validation loss.",
        "Set validation_split.",
    )
    refuse(
        get("early_stop_min_delta") and not stops,
        "early_stop_min_delta",
        "needs early_stop_patience or save_best.",
    )
    decay = float(get("ema_decay") or 0)
    refuse(
        get("ema_decay") is not None and not 0 < decay < 1,
        "ema_decay",
        f"{decay} must lie between 0 and 1.",
        "0.999 is usual.",
    )
    refuse(
        get("max_token_length") not in (None, 75, 150, 225),
        "max_token_length",
        "must be 75, 150 or 225.",
    )
    refuse(
        get("log_with") in ("tensorboard", "all") and not get("logging_dir"),
        "log_with",
        f'"{get("log_with")}" needs logging_dir.',
    )
    refuse(
        get("dataset_config") and (get("train_data_dir") or get("reg_data_dir")),
        "train_data_dir / reg_data_dir",
        "have no effect beside dataset_config.",
        "Keep one.",
    )
    refuse(
        get("dataset_repeats") not in (None, 1) and get("train_data_dir"),
        "dataset_repeats",
        "has no effect: the folders' names say it.",
    )
    return faults
