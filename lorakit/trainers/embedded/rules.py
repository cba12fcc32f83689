"""What the embedded trainer refuses, before anything starts. No torch: the plan asks it too."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorakit.catalogue import options as catalogue
from lorakit.catalogue.networks import Words, misread
from lorakit.catalogue.options import BOUNDS, Bound
from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.embedded import SCRIPTS, options
from lorakit.trainers.embedded.schedulers import keeps_its_own_pace, optimizer_type, schedule
from lorakit.trainers.optimisers import pace_faults
from lorakit.trainers.rule import Case, on_cuda
from lorakit.trainers.signatures import Environment, package_of, read
from lorakit.trainers.tokenizers import T5_HINT, has_tokenizer, t5_places

FAMILY_OF = {path.name: family for family, path in SCRIPTS.items()}
REQUIRED = ("pretrained_model_name_or_path", "network_module", "output_dir", "output_name")
CHANGES_CAPTIONS = ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step")


def check(resolved: Resolved, machine: Machine) -> list[Fault]:
    """Faults of a resolved recipe that says trainer = "embedded"."""
    settings = Options(resolved)
    family = settings.about
    if family.name not in SCRIPTS:
        what = f"the embedded trainer does not train {family.title}."
        return [Fault(str(resolved.file), what, 'Use trainer = "kohya".')]
    # Names are checked with the recipe, against the catalogue; here are the values and what they
    # mean together.
    values = {name: settings.value(name) for name in {**settings.known, **resolved.train}}
    values["network_module"] = settings.network_module
    faults = faults_of(family.script, values, planned=True)
    here = Environment(Path(sys.executable), Path(sys.executable).parent)
    faults += pace_faults(settings, here, options.OPTIMISERS)
    faults += [*_t5_tokenizer(settings), *_subset_options(settings)]
    faults += [*_masks(settings), *_few_bits(settings, machine)]
    faults += on_cuda("swap-device", "blocks_to_swap")(Case(resolved, machine))
    if settings.precision == "fp16" and machine.accelerator != "cuda":
        what = f'"fp16" does not work well on {machine.accelerator}.'
        faults.append(Fault("mixed_precision", what, 'Use "no" or, on the CPU, "bf16".'))
    return faults


def _subset_options(settings: Options) -> Iterator[Fault]:
    for folder in settings.subsets:
        for key in sorted(settings.subset(folder).keys() & {*options.DATASET_REFUSED}):
            where = f"{settings.where('subset', 'dataset')}.{folder} {key}"
            what = "the embedded trainer does not implement it."
            hint = 'Leave it out or use trainer = "kohya".'
            yield Fault(where, what, hint, "not-implemented")


def _few_bits(settings: Options, machine: Machine) -> Iterator[Fault]:
    form = settings.text("frozen_linear")
    least, cards = options.NEEDS_CARD.get(form, (0.0, ""))
    if form and machine.accelerator != "cuda":
        what = f'"{form}" saves memory on a CUDA card; this machine has none.'
        yield settings.fault("frozen_linear", what, "Remove frozen_linear here.", "few-bits-device")
    elif form and 0 < machine.gpus[0].capability < least:
        what = f'"{form}" multiplies on {cards} only; this is {machine.gpus[0].name}.'
        yield settings.fault("frozen_linear", what, 'Use "nf4" or fp8_base.', "few-bits-card")


def _masks(settings: Options) -> Iterator[Fault]:
    alpha, folder = (settings.anywhere(key) for key in ("alpha_mask", "conditioning_data_dir"))
    if settings.flag("masked_loss") and not (alpha or folder):
        yield settings.fault("masked_loss", options.NO_MASKS, options.HOW_MASKS, "masks-missing")
    if folder and not settings.flag("masked_loss"):
        what = "must be set, or conditioning_data_dir is not read."
        yield settings.fault("masked_loss", what, "Set masked_loss = true.", "masks-unused")


def _t5_tokenizer(settings: Options) -> Iterator[Fault]:
    """The trainer would look for it after the weights were read."""
    base, t5 = (Path(settings.text(key)) for key in ("pretrained_model_name_or_path", "t5xxl"))
    folder = base if settings.text("pretrained_model_name_or_path") and base.is_dir() else None
    if settings.family != "flux" or not (settings.text("t5xxl") or folder):
        return
    if not settings.text("t5xxl") and folder:
        t5 = folder / "text_encoder_2"
    beside = t5.parent if t5.suffix else t5
    if not any(map(has_tokenizer, t5_places(settings.text("tokenizer_cache_dir"), beside, folder))):
        what = "T5's tokenizer is not on this machine; the trainer would look for it in vain."
        yield Fault(settings.recipe, what, T5_HINT, "t5-tokenizer")


def faults_of(script: str, values: Mapping[str, Any], *, planned: bool = False) -> list[Fault]:
    """Of values that fit their options. `planned`: the plan will fill in paths and names."""
    family = FAMILY_OF[script]
    known = catalogue.options("embedded", script)
    faults = [*_ranges(values)]
    if not planned:
        faults += [Fault(name, "must be set.") for name in REQUIRED if not values.get(name)]
        faults += _packages(values)
    module, kohyas = values.get("network_module"), FAMILIES[family].network_module
    if module and module not in (kohyas, options.LYCORIS):
        either = f"{kohyas} or {options.LYCORIS}"
        faults.append(Fault("network_module", f"must be {either} for this script."))
    for name in options.WITHOUT_EFFECT[family]:
        if values.get(name) not in (None, False, known[name].default):
            what = f"has no effect on {FAMILIES[family].title}: kohya's script ignores it, too."
            faults.append(Fault(name, what, f"Remove {name}.", "no-effect"))
    lycoris = module == options.LYCORIS
    arguments = (options.LYCORIS_ARGS if lycoris else options.NETWORK_ARGS)[family]
    faults += _arguments(arguments, values.get("network_args") or [])
    faults += [*(_lycoris(values) if lycoris else ()), *_pace(values)]
    if family != "flux" and len(set(values.get("text_encoder_lr") or [])) > 1:
        what = "only the first of several rates is read, as by networks.lora."
        faults.append(Fault("text_encoder_lr", what, "Write one rate."))
    faults += _text_cache(family, values)
    faults += _combinations(values)
    huber = values.get("loss_type") in ("huber", "smooth_l1")
    if family == "flux" and huber and values.get("huber_schedule") == "snr":
        hint = 'Use "constant" or "exponential".'
        faults.append(Fault("huber_schedule", '"snr" has no meaning for FLUX.', hint))
    return faults


def _lycoris(values: Mapping[str, Any]) -> Iterator[Fault]:
    for name in options.NOT_LYCORIS:
        if values.get(name):
            yield Fault(name, f"is not implemented for {options.LYCORIS}.", f"Remove {name}.")
    extra = dict(str(one).partition("=")[::2] for one in values.get("network_args") or [])
    for name in options.OF_LOKR:
        if name in extra and extra.get("algo") != "lokr":
            yield Fault(f"network_args {name}", "has no effect without algo=lokr.")
    if "rs_lora" in extra and extra.get("algo") == "lokr":
        what = "LyCORIS reads such files at another strength than it trained them."
        yield Fault("network_args rs_lora", what, "Leave it out for lokr.")
    if {"module_dropout", "dora_wd"} <= extra.keys():
        yield Fault("network_args module_dropout", "is not implemented beside dora_wd.")


def _arguments(known: Words, arguments: list[str]) -> Iterator[Fault]:
    for argument in arguments:
        name, equals, text = str(argument).partition("=")
        where = f"network_args {name}"
        if not equals:
            yield Fault(f"network_args {argument!r}", "must read name=value.")
        elif name not in known:
            hint = "Write network_dropout." if name == "dropout" else did_you_mean(name, known)
            yield Fault(where, "the embedded trainer does not know it.", hint, "not-implemented")
        elif wanted := misread(known[name], text):
            yield Fault(where, f"takes {wanted}, not {text!r}.")
        elif name in ("rank_dropout", "module_dropout") and not 0 <= float(text) < 1:
            yield Fault(where, f"{text} must be at least 0 and below 1.")
    names = [str(argument).partition("=")[0] for argument in arguments]
    if "conv_alpha" in names and "conv_dim" not in names and "algo" not in known:
        yield Fault("network_args conv_alpha", "has no effect without conv_dim.")


def _packages(values: Mapping[str, Any]) -> Iterator[Fault]:
    """What must be installed, known before gigabytes are read."""
    dotted = options.OPTIMISERS.get(optimizer_type(argparse.Namespace(**values)).lower(), "")
    needed = [("optimizer_type", dotted)] if dotted else []
    log_with = values.get("log_with")
    if log_with or values.get("logging_dir"):
        loggers = ("tensorboard", "wandb") if log_with == "all" else (log_with or "tensorboard",)
        needed += [("log_with", one) for one in loggers]
    for option, module in needed:
        if find_spec(module.partition(".")[0]) is None:
            package = package_of(module)
            what = f"needs the package {package}, which is not installed."
            yield Fault(option, what, f"pip install {package}")


def _ranges(values: Mapping[str, Any]) -> Iterator[Fault]:
    own = (Bound("", tuple(names), int(low), "") for low, names in options.AT_LEAST.items())
    for bound in (*BOUNDS, *own):
        for name in bound.options:
            if wrong := bound.outside(values.get(name)):
                yield Fault(name, f"{wrong[0]} must be {bound.range}.")
    low, high = values.get("min_timestep") or 0, values.get("max_timestep")
    high = 1000 if high is None else high
    if not low <= high <= 1000 or low == 1000:
        what = f"{low} to {high} must be within 0 and 1000, the smaller first."
        yield Fault("min_timestep / max_timestep", what)


def _pace(values: Mapping[str, Any]) -> list[Fault]:
    """Optimiser's and schedule's own arguments, and which of the two decides the learning rate."""
    faults = []
    for option in ("optimizer_args", "lr_scheduler_args"):
        for pair in values.get(option) or []:
            if not read(pair)[0]:
                what = "must read name=value, the value as Python writes it."
                faults.append(Fault(f"{option} {pair!r}", what, 'Example: "weight_decay=0.01".'))
    if faults:
        return faults
    name, foreign = values["lr_scheduler"], values.get("lr_scheduler_type")
    if values.get("lr_scheduler_args") and not foreign and name != "piecewise_constant":
        what = f"has no effect on lr_scheduler = {name!r}."
        hint = "lr_scheduler_type and piecewise_constant read it."
        faults.append(Fault("lr_scheduler_args", what, hint))
    pacemaker = keeps_its_own_pace(argparse.Namespace(**values)) or foreign
    if pacemaker and values.get("lr_warmup_steps"):
        what = f"has no effect: {pacemaker} decides the learning rate by itself."
        faults.append(Fault("lr_warmup_steps", what))
    if not pacemaker:
        try:
            schedule(argparse.Namespace(**values), 1000)
        except RecipeError as error:
            faults += error.faults
    return faults


def _text_cache(family: str, values: Mapping[str, Any]) -> Iterator[Fault]:
    key = "cache_text_encoder_outputs"
    if not (values.get(key) or values.get(f"{key}_to_disk")):
        return
    for name in CHANGES_CAPTIONS:
        if values.get(name):
            what = "every step would see another caption, so the text encoder's outputs cannot be"
            yield Fault(name, f"{what} cached.", f"Drop {key} or this option.")
    if family != "flux" and not values.get("network_train_unet_only"):
        what = "a text encoder that is trained cannot be cached."
        yield Fault(key, what, "Set network_train_unet_only.")


def _combinations(values: Mapping[str, Any]) -> Iterator[Fault]:
    get = values.get
    precision = get("mixed_precision") or "no"
    for kind in ("bf16", "fp16"):
        if get(f"full_{kind}") and precision != kind:
            yield Fault(f"full_{kind}", f'needs mixed_precision = "{kind}".')
    plain = optimizer_type(argparse.Namespace(**values)).lower() == "adamw"
    if get("stochastic_rounding") and (not plain or get("lr_scheduler_type")):
        yield Fault("stochastic_rounding", "needs AdamW, without lr_scheduler_type.")
    if get("blocks_to_swap") and not get("gradient_checkpointing"):
        what = "needs gradient_checkpointing: else the way back keeps every block's weights."
        yield Fault("blocks_to_swap", what, "Set gradient_checkpointing = true.")
    few = ("fp8_base", "fp8_base_unet")
    if get("frozen_linear") and any(map(get, few)):
        yield Fault("frozen_linear", "cannot be combined with fp8_base.", "Keep one.")
    for name in (*few, "frozen_linear"):
        if get(name) and precision == "no":
            yield Fault(name, 'needs mixed_precision = "bf16" or "fp16".')
    cached = get("cache_latents") or get("cache_latents_to_disk")
    if cached and (get("color_aug") or get("random_crop")):
        yield Fault("cache_latents", "cached latents allow neither color_aug nor random_crop.")
    for name, other in options.NEEDS.items():
        if get(name) and not get(other):
            yield Fault(name, f"needs {other}.")
    if get("v_pred_like_loss") and get("v_parameterization"):
        yield Fault("v_pred_like_loss", "cannot be used with v_parameterization.")
    if get("zero_terminal_snr") and not get("v_parameterization"):
        what = "the last timestep has no signal, and noise prediction would divide by zero."
        yield Fault("zero_terminal_snr", what, "Set v_parameterization.")
    sampling = get("sample_every_n_steps") or get("sample_every_n_epochs") or get("sample_at_first")
    if sampling and not get("sample_prompts"):
        yield Fault("sample_prompts", "must be set when samples are asked for.")
    if get("network_train_unet_only") and get("network_train_text_encoder_only"):
        what = "together with network_train_text_encoder_only nothing is left to train."
        yield Fault("network_train_unet_only", what)
    yield from _lengths_and_places(get)


def _lengths_and_places(get: Callable[[str], Any]) -> Iterator[Fault]:
    stops = get("early_stop_patience") or get("save_best")
    if stops and not get("dataset_config") and not get("validation_split"):
        where = "early_stop_patience / save_best"
        yield Fault(where, "need a validation loss.", "Set validation_split.")
    if get("early_stop_min_delta") and not stops:
        yield Fault("early_stop_min_delta", "needs early_stop_patience or save_best.")
    decay = get("ema_decay")
    if decay is not None and not 0 < float(decay or 0) < 1:
        yield Fault("ema_decay", f"{decay} must be between 0 and 1.", "0.999 is usual.")
    if get("max_token_length") not in (None, 75, 150, 225):
        yield Fault("max_token_length", "must be 75, 150 or 225.")
    if get("log_with") in ("tensorboard", "all") and not get("logging_dir"):
        yield Fault("log_with", f'"{get("log_with")}" needs logging_dir.')
    if get("dataset_config") and (get("train_data_dir") or get("reg_data_dir")):
        where = "train_data_dir / reg_data_dir"
        yield Fault(where, "have no effect beside dataset_config.", "Keep one.")
    if get("dataset_repeats") not in (None, 1) and get("train_data_dir"):
        yield Fault("dataset_repeats", "has no effect: the folders' names say it.")
