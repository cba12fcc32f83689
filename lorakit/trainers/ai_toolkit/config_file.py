"""Its configuration, with every value spelt out: what its code assumes and what its user interface
proposes differ, and neither tells.
"""

import math
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit.catalogue.options import sections
from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.errors import Fault
from lorakit.recipe.model import Section
from lorakit.recipe.options import Options
from lorakit.toml_text import proven, table_text
from lorakit.trainers import run_files

FILE, LINKS = "ai-toolkit.yaml", "links.toml"
TRAINING = "training"  # it writes into a folder of its own in there
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp"),
    *(".mp4", ".avi", ".mov", ".webm", ".mkv", ".wmv", ".m4v", ".flv"),
)
GRAMMAR = run_files.Grammar(
    "ai-toolkit",
    "aitk",
    of_a_folder=(
        *("num_repeats", "caption_dropout_rate", "shuffle_caption", "keep_tokens", "flip_aug"),
        *("target_frames", "control_directory"),
    ),
    reg="takes regularisation images turn by turn, not as kohya counts them",
    uncaptioned="would train with none",
)
DTYPES = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
OPTIMIZERS = (
    *("adamw8bit", "adamw", "adam", "adafactor"),
    *("lion", "lion8bit", "prodigy", "automagic"),
)
# The loader replaces these anywhere in the file: a variable of the environment, the run's name.
REPLACED = re.compile(r"\$\{[^}]+\}|\[name\]")
PROMPT = {
    "prompt": "prompt",
    "width": "width",
    "height": "height",
    "seed": "seed",
    "sample_steps": "sample_steps",
    "scale": "guidance_scale",
    "guidance_scale": "guidance_scale",
    "negative_prompt": "neg",
    "image_path": "ctrl_img",
    "control_image_path": "ctrl_img",
    "frame_count": "num_frames",
}


def files(options: Options, _settings: Section, facts: DatasetFacts) -> run_files.Texts:
    faults = [*GRAMMAR.faults(options, facts), *_unread(options, facts)]
    config = configuration(options, facts, faults)
    for place, what in replaced(config):
        name = place.removeprefix("config.process.")
        text = f"{what} in {name} would be replaced by ai-toolkit's loader, there and everywhere."
        hint = f"Write it without {what[0]}{what[1]}" if what.startswith("$") else "Leave it out."
        faults.append(Fault(options.recipe, text, hint, "aitk-replaced"))
    head = f"# Written by lorakit from {options.resolved.file.name}. Edit the recipe instead.\n"
    links = {one.path.name: one.path.absolute().as_posix() for one in facts.trained}
    return {FILE: head + yaml_text(config), LINKS: proven(LINKS, table_text(links), links)}, faults


def configuration(options: Options, facts: DatasetFacts, faults: list[Fault]) -> dict[str, Any]:
    run_dir = Path(options.text("output_dir")).parent
    said = {
        section: {name: options.value(name) for name in names if options.is_set(name)}
        for section, names in sections("ai-toolkit").items()
    }
    process = {
        "type": "sd_trainer",
        "training_folder": (run_dir / TRAINING).as_posix(),
        "device": "cuda:0",
        "network": _network(options) | said["network"],
        "save": {
            "dtype": DTYPES[options.text("save_precision") or "bf16"],
            "save_every": options.integer("save_every_n_steps"),
            "save_format": "diffusers" if options.about.flow else "safetensors",
            "push_to_hub": False,
            **said["save"],
        },
        "datasets": [_dataset(options, one, run_dir) | said["datasets"] for one in facts.trained],
        "train": _train(options, said["ema_config"]) | said["train"],
        "model": _model(options, said["model_kwargs"]) | said["model"],
        "sample": _sample(options, faults),
        "logging": {"log_every": 1, "use_ui_logger": False, "use_wandb": False, "verbose": False},
    }
    return {
        "job": "extension",
        "config": {"name": options.output_name, "process": [process]},
        "meta": {"name": options.output_name, "version": "1.0"},
    }


def _network(options: Options) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "lora",
        "linear": options.rank,
        "linear_alpha": options.number("network_alpha"),
    }
    if options.is_set("network_dropout"):
        block["dropout"] = options.number("network_dropout")
    if options.is_set("network_weights"):
        block["pretrained_lora_path"] = options.text("network_weights")
    return block


def _train(options: Options, ema: Mapping[str, Any]) -> dict[str, Any]:
    rate, flow = options.number("learning_rate"), options.about.flow
    block: dict[str, Any] = {
        "batch_size": options.batch_size,
        "steps": options.integer("max_train_steps"),
        "gradient_accumulation": options.accumulation,
        "train_unet": True,
        "train_text_encoder": not flow and not options.flag("network_train_unet_only"),
        "gradient_checkpointing": options.flag("gradient_checkpointing"),
        "noise_scheduler": "flowmatch" if flow else "ddpm",
        "optimizer": optimizer(options),
        "optimizer_params": optimizer_params(options),
        "lr": rate,
        "unet_lr": options.number("unet_lr") or rate,
        "text_encoder_lr": _first(options.value("text_encoder_lr")) or rate,
        "lr_scheduler": options.text("lr_scheduler") or "constant",
        "lr_scheduler_params": {},
        "max_grad_norm": options.number("max_grad_norm"),
        "noise_offset": options.number("noise_offset"),
        "loss_type": "mse",
        "dtype": DTYPES[options.precision],
        "ema_config": {"use_ema": bool(ema), "ema_decay": 0.999, **ema},
        "cache_text_embeddings": options.flag("cache_text_encoder_outputs"),
        "skip_first_sample": not options.flag("sample_at_first"),
        "disable_sampling": not options.prompts,
    }
    if block["lr_scheduler"] == "constant_with_warmup":
        block["lr_scheduler_params"] = {"num_warmup_steps": warmup(options)}
    if options.is_set("min_snr_gamma"):
        block["min_snr_gamma"] = options.number("min_snr_gamma")
    return block | ({"timestep_type": options.text("timestep_type")} if flow else {})


def optimizer(options: Options) -> str:
    said = options.text("optimizer_type")
    return said.lower() if said.lower() in OPTIMIZERS else said


def optimizer_params(options: Options) -> dict[str, Any]:
    """The key=value words of kohya, as values."""
    found: dict[str, Any] = {}
    for name, text in options.arguments("optimizer_args").items():
        try:
            value = literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def warmup(options: Options) -> int:
    value = options.value("lr_warmup_steps") or 0
    share = value * options.integer("max_train_steps") if isinstance(value, float) else value
    return int(share)


def _model(options: Options, experts: Mapping[str, Any]) -> dict[str, Any]:
    quantize = options.flag("fp8_base")
    block = {
        "name_or_path": options.text("name_or_path")
        or options.text("pretrained_model_name_or_path"),
        "arch": options.about.word,
        "dtype": DTYPES[options.precision],
        "quantize": quantize,
        "quantize_te": quantize,
        "qtype": "qfloat8",
        "qtype_te": "qfloat8",
        "low_vram": False,
    }
    if options.is_set("vae"):
        block["vae_path"] = options.text("vae")
    return block | ({"model_kwargs": dict(experts)} if experts else {})


def _dataset(options: Options, subset: SubsetFacts, run_dir: Path) -> dict[str, Any]:
    own = options.subset(subset.path.name)

    def said(word: str) -> Any:
        return own.get(word, options.value(word))

    control = own.get("control_directory")
    return {
        **({"control_path": control} if control else {}),
        "folder_path": (run_dir / "data" / subset.path.name).as_posix(),
        "num_repeats": own.get("num_repeats", subset.repeats),
        "resolution": [width for width, _ in options.resolutions],
        "caption_ext": options.caption_extension,
        "default_caption": "",
        "buckets": options.flag("enable_bucket"),
        "num_frames": max(options.film_rules(subset.path).target_frames, default=1),
        "num_workers": options.integer("max_data_loader_n_workers"),
        "cache_latents": options.flag("cache_latents"),
        "cache_latents_to_disk": options.flag("cache_latents_to_disk"),
        "cache_text_embeddings": options.flag("cache_text_encoder_outputs"),
        "caption_dropout_rate": float(said("caption_dropout_rate") or 0),
        "token_dropout_rate": float(said("caption_tag_dropout_rate") or 0),
        "shuffle_tokens": bool(said("shuffle_caption")),
        "flip_x": bool(said("flip_aug")),
        "random_crop": bool(said("random_crop")),
        "keep_tokens": int(said("keep_tokens") or 0),
    }


def _sample(options: Options, faults: list[Fault]) -> dict[str, Any]:
    prompts, problems = run_files.prompt_tables(options)
    faults += problems
    samples = []
    for one in prompts:
        if odd := sorted(one.keys() - PROMPT.keys()):
            what = f"ai-toolkit's samples have no {', '.join(odd)}."
            faults.append(options.fault("prompts", what, "", "aitk-prompt", section="sample"))
        if "control_image_path" in one:
            one["control_image_path"] = one["control_image_path"][0]
        samples.append({PROMPT[key]: value for key, value in one.items() if key in PROMPT})
    width, height = options.resolution
    return {
        "sampler": "flowmatch" if options.about.flow else "ddpm",
        "sample_every": options.integer("sample_every_n_steps"),
        "sample_start_step": 0,
        "width": width,
        "height": height,
        "neg": "",
        "seed": options.seed,
        "walk_seed": False,
        "guidance_scale": options.about.sample_scale,
        "sample_steps": options.about.sample_steps,
        "format": "png",
        **({"samples": samples} if samples else {}),
    }


def changed(config: Path, changes: Mapping[str, Any]) -> str:
    """For a part that begins with a saved LoRA after `start_step` steps."""
    import yaml

    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    (process,) = data["config"]["process"]
    process["training_folder"] = (Path(changes["output_dir"]).parent / TRAINING).as_posix()
    process["network"]["pretrained_lora_path"] = changes["resume"]
    process["train"]["start_step"] = changes["start_step"]
    return yaml_text(data)


def yaml_text(value: Mapping[str, Any]) -> str:
    """Without anchors, and with quotes also around what ai-toolkit's loader alone takes for a
    number: 1e-4.
    """
    import yaml

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    like_a_number = re.compile(r"[-+.\d][-+.\deE_:]*$")
    dumper.add_implicit_resolver("tag:yaml.org,2002:float", like_a_number, [*"-+.0123456789"])
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=math.inf)
    return text


def replaced(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Where something stands that the loader would replace, and what."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from replaced(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from replaced(inner, place)
    elif isinstance(value, str) and (match := REPLACED.search(value)):
        yield place, match[0]


def _first(value: Any) -> float:
    return float((value[0] if value else 0) if isinstance(value, (list, tuple)) else value or 0)


def _unread(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    for subset in facts.trained:
        if len(options.film_rules(subset.path).target_frames) > 1:
            what = "ai-toolkit spreads one number of frames over a whole film."
            hint = "Write one target_frames; shrink_video_to_frames and fps belong in [train]."
            yield Fault(str(subset.path), what, hint, "aitk-films")
        if options.about.controls:
            needed = "edit" in options.text("arch")
            yield from run_files.control_faults(options, subset, 1, needed=needed, numbered=False)
        if unread := [one for one in subset.images if one.path.suffix.lower() not in SUFFIXES]:
            what = f"ai-toolkit does not see {unread[0].path.name}: it reads {', '.join(SUFFIXES)}."
            hint = "`lorakit dataset prepare` writes JPEG."
            yield Fault(str(subset.path), what, hint, "aitk-suffix")
