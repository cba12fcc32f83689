"""What the plan itself adds to the settings: paths, names, and the few values without which the
script does something nobody meant.

Every addition carries its reason as its source, so `lorakit plan` shows it like any other setting.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.trainers.table import trainer
from lorakit.weights.reference import WeightFile

# Options of [train] that hold a path; the script reads relative ones from where it was started.
PATHS = ("log_tracker_config", "metadata_thumbnail", "base_weights")
SAMPLE = ("every_n_epochs", "every_n_steps", "at_first", "sampler")  # sample_* of the script


def completed(options: Options, run_dir: Path, weights: Sequence[WeightFile]) -> Options:
    """With `train` as train.toml will say it, but for the keys that the script does not know."""
    resolved = options.resolved
    train = {key: one for key, one in resolved.train.items() if one.value != ""}
    for key, setting in train.items():
        if key in PATHS:
            train[key] = _absolute(resolved, setting)
    train.update(dict(_from_other_sections(resolved, weights)))
    for key, value, why in _additions(options, run_dir):
        train.setdefault(key, Setting(value, f"plan: {why}"))
    return Options(replace(resolved, train=train))


def posix(path: Path) -> str:
    """Absolute with forward slashes: a backslash in TOML may be read as something else."""
    return path.absolute().as_posix()


def _from_other_sections(
    resolved: Resolved, weights: Sequence[WeightFile]
) -> Iterator[tuple[str, Setting]]:
    for weight in weights:
        named = (one.source for one in resolved.model.values() if one.value == weight.asked)
        yield weight.option, Setting(posix(_unlinked(weight.path)), next(named, "[model]"))
    model = {"network_weights": "network_weights", "tokenizers": "tokenizer_cache_dir"}
    for key, option in model.items():
        if key in resolved.model:
            yield option, _absolute(resolved, resolved.model[key])
    for key in SAMPLE:
        if key in resolved.sample:
            yield f"sample_{key}", resolved.sample[key]
    if "deepspeed" in resolved.launch:
        yield "deepspeed", resolved.launch["deepspeed"]


def _additions(options: Options, run_dir: Path) -> Iterator[tuple[str, Any, str]]:
    resolved, family = options.resolved, options.family
    yield "output_dir", posix(run_dir / "output"), "the run's folder"
    yield "output_name", resolved.name, "the recipe's name"
    yield "logging_dir", posix(run_dir / "logs"), "the run's folder"
    yield "network_module", options.network_module, f"the one for {family}"
    yield "seed", options.seed, "a fixed one, or every process draws its own"
    if options.number("validation_split") > 0:
        why = "without one, training and validation share images"
        yield "validation_seed", options.seed, why
    if options.prompts:
        yield "sample_prompts", posix(run_dir / "prompts.toml"), "from [sample]"
    if options.folders:
        for key, option in (("path", "train_data_dir"), ("reg_path", "reg_data_dir")):
            if said := options.said("dataset", key):
                yield option, posix(resolved.path_of(said)), "folder mode"
    else:
        yield "dataset_config", posix(run_dir / "dataset.toml"), "every subset spelt out"
    why = "the script's own default is .caption"
    yield "caption_extension", options.caption_extension, why
    width, height = options.resolution
    yield "resolution", f"{width},{height}", f"the usual one for {family}"
    yield "mixed_precision", options.precision, "the script's default"
    yield "save_model_as", "safetensors", "the script's default"
    yield from trainer(resolved.trainer).settings(resolved)
    why = "8 would repeat some images and miss others in every epoch"
    yield "max_data_loader_n_workers", 1 if options.caches_latents else 2, why
    if resolved.trigger:
        yield "metadata_trigger_phrase", resolved.trigger, "the recipe's trigger"
    yield "metadata_title", resolved.name, "the recipe's name"


def _unlinked(path: Path) -> Path:
    """The target of a relative link: SDXL's script reads its text from where it was started."""
    followed = path.is_symlink() and not os.path.isabs(os.readlink(path))
    return Path(os.path.realpath(path)) if followed else path  # resolve() raises at a loop


def _absolute(resolved: Resolved, setting: Setting) -> Setting:
    def one(value: Any) -> Any:
        return posix(resolved.path_of(value)) if isinstance(value, str) and value else value

    value = setting.value
    absolute = [one(item) for item in value] if isinstance(value, (list, tuple)) else one(value)
    return Setting(absolute, setting.source)
