"""The texts of a run's files: train.toml, dataset.toml, prompts.toml, accelerate.yaml. Nothing is
written here, only composed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lorakit.catalogue.options import Option
from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.errors import Fault
from lorakit.plan.complete import posix, prompts
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.toml_text import proven, table_text

# kohya's prompt options that a person may write into a prompt line, and the key and type each
# becomes.
IN_PROMPT: Mapping[str, tuple[str, type]] = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "l": ("scale", float),
    "g": ("guidance_scale", float),
    "n": ("negative_prompt", str),
    "ss": ("sample_sampler", str),
    "cn": ("controlnet_image", str),
    "ctr": ("cfg_trunc_ratio", float),
    "rcfg": ("renorm_cfg", float),
    "fs": ("flow_shift", str),
}
SAMPLE_KEYS = {
    "width": "width",
    "height": "height",
    "steps": "sample_steps",
    "scale": "scale",
    "guidance": "guidance_scale",
    "negative": "negative_prompt",
}
SMALLEST = 64  # side of a sample


def settings_for(resolved: Resolved, known: Mapping[str, Option]) -> Section:
    """What train.toml will say: only options the script has, floats where it wants floats,
    resolution as the text it insists on.
    """
    return {
        key: Setting(_typed(resolved, known[key], setting.value), setting.source)
        for key, setting in resolved.train.items()
        if key in known and setting.value is not None and setting.value != ""
    }


def train_toml(resolved: Resolved, settings: Section) -> str:
    meant = {key: setting.value for key, setting in settings.items()}
    head = f"# Written by lorakit from {resolved.file.name}. Edit the recipe, not this file.\n"
    return proven("train.toml", head + table_text(meant), meant)


def dataset_toml(resolved: Resolved, facts: DatasetFacts) -> str:
    """Everything explicit: nothing is left to folder names, to the order of a directory listing,
    or to the script's defaults.
    """
    width, height = read.resolution(resolved)
    rules = read.bucket_rules(resolved)
    dataset: dict[str, Any] = {
        "resolution": [width, height],
        "batch_size": read.whole(resolved, "train_batch_size", 1),
        "enable_bucket": rules.enable,
    }
    if rules.enable:
        dataset |= {
            "min_bucket_reso": rules.min,
            "max_bucket_reso": rules.max,
            "bucket_reso_steps": rules.step,
            "bucket_no_upscale": rules.no_upscale,
        }
    share = read.number(resolved, "validation_split", 0.0)
    if share > 0:
        dataset |= {
            "validation_split": share,
            "validation_seed": read.whole(resolved, "validation_seed", 0),
        }
    subsets = [_subset(resolved, subset) for subset in facts.subsets]
    text = (
        "[[datasets]]\n"
        + table_text(dataset)
        + "".join(f"\n[[datasets.subsets]]\n{table_text(subset)}" for subset in subsets)
    )
    return proven(
        "dataset.toml",
        text,
        {"datasets": [{**dataset, "subsets": subsets} if subsets else dataset]},
    )


def prompts_toml(resolved: Resolved) -> tuple[str, list[Fault]]:
    """Each prompt with its size, seed and the rest spelt out; prompt options in kohya's own way
    (`--w 512`) are understood.
    """
    width, height = read.resolution(resolved)
    common: dict[str, Any] = {
        "width": width,
        "height": height,
        "seed": read.whole(resolved, "seed", 42),
    }
    common |= {
        key: resolved.sample[word].value
        for word, key in SAMPLE_KEYS.items()
        if word in resolved.sample
    }
    if "seed" in resolved.sample:
        common["seed"] = resolved.sample["seed"].value
    faults: list[Fault] = []
    subsets = []
    for prompt in prompts(resolved):
        own, problems = read_prompt(prompt)
        faults += [
            Fault(f"{read.recipe_name(resolved)} [sample] prompts", problem, "", "prompt-option")
            for problem in problems
        ]
        subset = {"prompt": own.pop("prompt"), **common, **own}
        for side in ("width", "height"):
            if subset[side] < SMALLEST:
                what = f"{subset[side]}: the script would draw {SMALLEST} without a word."
                faults.append(
                    Fault(
                        f"{read.recipe_name(resolved)} [sample] {side}",
                        what,
                        f"Write {SMALLEST} or more.",
                        "sample-size",
                    )
                )
        subsets.append(subset)
    text = "[prompt]\n" + "".join(
        f"\n[[prompt.subset]]\n{table_text(subset)}" for subset in subsets
    )
    return proven("prompts.toml", text, {"prompt": {"subset": subsets}}), faults


def read_prompt(line: str) -> tuple[dict[str, Any], list[str]]:
    """A prompt line as kohya's text files write it: the prompt, then ` --option value`. Unknown
    options are told, not dropped.
    """
    prompt, *options = line.split(" --")
    found: dict[str, Any] = {"prompt": prompt}
    problems = []
    for option in options:
        word, _, value = option.strip().partition(" ")
        key, kind = IN_PROMPT.get(word.lower(), ("", str))
        if not key:
            problems.append(
                f"{line!r}: kohya has no prompt option --{word} and would cut it out of the prompt."
            )
            continue
        if kind is int and not re.fullmatch(r"\d+", value.strip()):
            problems.append(f"{line!r}: --{word} takes a whole number.")
            continue
        try:
            found[key] = kind(value.strip())
        except ValueError:
            problems.append(f"{line!r}: --{word} takes a number.")
    return found, problems


def accelerate_yaml(
    *, processes: int, machines: int, rank: int, mixed_precision: str, cpu: bool
) -> str:
    """Our own accelerate configuration, so that the user-wide one has no say. A script over
    several processes goes through torchrun.
    """
    several = processes > 1 or machines > 1
    return f"""\
# Written by lorakit. Stands in for the user-wide accelerate configuration.
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: '{"MULTI_GPU" if several else "NO"}'
downcast_bf16: 'no'
enable_cpu_affinity: false
machine_rank: {rank}
main_training_function: main
mixed_precision: '{mixed_precision}'
num_machines: {machines}
num_processes: {processes}
rdzv_backend: static
same_network: true
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: {str(cpu).lower()}
"""


def _subset(resolved: Resolved, subset: SubsetFacts) -> dict[str, Any]:
    own = dict(read.subset_overrides(resolved, subset.path.name))
    extension = str(own.pop("caption_extension", read.caption_extension(resolved)))
    table: dict[str, Any] = {
        "image_dir": posix(subset.path),
        "num_repeats": own.pop("num_repeats", subset.repeats),
        "class_tokens": own.pop("class_tokens", subset.class_tokens),
        "caption_extension": extension if extension.startswith(".") else f".{extension}",
    }
    if subset.is_reg:
        table["is_reg"] = True
    return {**table, **own}


def _typed(resolved: Resolved, option: Option, value: Any) -> Any:
    if option.name == "resolution":
        width, height = read.resolution(resolved)
        return f"{width},{height}"
    if isinstance(value, (list, tuple)):
        return [_typed(resolved, option, item) for item in value]
    if option.type == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
