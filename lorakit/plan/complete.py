"""What the plan itself adds to the settings: paths, names, and the few values without which the
script does something nobody meant.

Every addition carries its reason as its source, so `lorakit plan` shows it like any other setting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.families import FAMILIES
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved, Setting
from lorakit.trainers.table import trainer
from lorakit.weights.reference import WeightFile

# Options that hold a path; the script reads relative ones from wherever it was started.
PATHS = (
    "vae",
    "network_weights",
    "resume",
    "tokenizer_cache_dir",
    "log_tracker_config",
    "metadata_thumbnail",
    "base_weights",
    "output_dir",
    "logging_dir",
)
SAMPLE = {
    "every_n_epochs": "sample_every_n_epochs",
    "every_n_steps": "sample_every_n_steps",
    "at_first": "sample_at_first",
    "sampler": "sample_sampler",
}


def completed(
    resolved: Resolved, run_dir: Path, weights: Sequence[WeightFile], *, folders: bool
) -> Resolved:
    """The same recipe with `train` as train.toml will say it (before the catalogue decides which
    keys the script knows).
    """
    train = dict(resolved.train)
    for key, setting in train.items():
        if key in PATHS:
            train[key] = Setting(_absolute(resolved, setting.value), setting.source)
    train.update(dict(_from_other_sections(resolved, weights)))
    for key, value, why in _additions(resolved, run_dir, folders=folders):
        train.setdefault(key, Setting(value, f"plan: {why}"))
    return replace(resolved, train=train)


def posix(path: Path) -> str:
    """Absolute with forward slashes: a backslash in TOML may be read as something else."""
    return path.absolute().as_posix()


def _from_other_sections(
    resolved: Resolved, weights: Sequence[WeightFile]
) -> Iterator[tuple[str, Setting]]:
    for weight in weights:
        source = next(
            (
                setting.source
                for setting in resolved.model.values()
                if setting.value == weight.asked
            ),
            "[model]",
        )
        yield weight.option, Setting(posix(_unlinked(weight.path)), source)
    for key, option in (
        ("network_weights", "network_weights"),
        ("tokenizers", "tokenizer_cache_dir"),
    ):
        if key in resolved.model:
            setting = resolved.model[key]
            yield option, Setting(_absolute(resolved, setting.value), setting.source)
    for key, option in SAMPLE.items():
        if key in resolved.sample:
            yield option, resolved.sample[key]
    if "deepspeed" in resolved.launch:
        yield "deepspeed", resolved.launch["deepspeed"]


def _additions(
    resolved: Resolved, run_dir: Path, *, folders: bool
) -> Iterator[tuple[str, Any, str]]:
    yield "output_dir", posix(run_dir / "output"), "the run's folder"
    yield "output_name", resolved.name, "the recipe's name"
    yield "logging_dir", posix(run_dir / "logs"), "the run's folder"
    yield (
        "network_module",
        FAMILIES[resolved.family].network_module,
        f"the one for {resolved.family}",
    )
    yield "seed", 42, "a fixed one, or every process draws its own"
    if read.number(resolved, "validation_split", 0.0) > 0:
        seed = read.whole(resolved, "seed", 42)
        yield "validation_seed", seed, "without one, training and validation share images"
    if prompts(resolved):
        yield "sample_prompts", posix(run_dir / "prompts.toml"), "from [sample]"
    yield from _dataset_additions(resolved, run_dir, folders=folders)
    yield (
        "caption_extension",
        read.caption_extension(resolved),
        "the script's own default is .caption",
    )
    width, height = read.resolution(resolved)
    yield "resolution", f"{width},{height}", f"the usual one for {resolved.family}"
    yield "mixed_precision", "no", "the script's default"
    yield "save_model_as", "safetensors", "the script's default"
    yield from trainer(resolved.trainer).settings(resolved)
    workers = (
        1
        if read.flag(resolved, "cache_latents") or read.flag(resolved, "cache_latents_to_disk")
        else 2
    )
    yield (
        "max_data_loader_n_workers",
        workers,
        "8 would repeat some images and miss others in every epoch",
    )
    if resolved.trigger:
        yield "metadata_trigger_phrase", resolved.trigger, "the recipe's trigger"
    yield "metadata_title", resolved.name, "the recipe's name"


def _dataset_additions(
    resolved: Resolved, run_dir: Path, *, folders: bool
) -> Iterator[tuple[str, Any, str]]:
    if not folders:
        yield "dataset_config", posix(run_dir / "dataset.toml"), "every subset spelt out"
        return
    for key, option in (("path", "train_data_dir"), ("reg_path", "reg_data_dir")):
        setting = resolved.dataset.get(key)
        if setting:
            yield option, posix(resolved.path_of(str(setting.value))), "folder mode"


def prompts(resolved: Resolved) -> tuple[str, ...]:
    """The sample prompts, {trigger} and {name} filled in."""
    setting = resolved.sample.get("prompts")
    value = setting.value if setting else ()
    given = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(
        str(one).replace("{trigger}", resolved.trigger).replace("{name}", resolved.name)
        for one in given
        if one
    )


def _unlinked(path: Path) -> Path:
    """SDXL's script reads a link's text as if it were a path from where it was started; so the
    target is named.
    """
    return path.resolve() if path.is_symlink() and not os.path.isabs(os.readlink(path)) else path


def _absolute(resolved: Resolved, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_absolute(resolved, item) for item in value]
    return posix(resolved.path_of(value)) if isinstance(value, str) and value else value
