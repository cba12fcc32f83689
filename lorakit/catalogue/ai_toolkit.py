"""Every setting that ai-toolkit looks up in its configuration, read out of its source by `ast`; and
kohya's names for those that have one.

Its own loader ignores what it does not look up, so a misspelt key would pass in silence.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit import json_text

SCRIPT = "run.py"
CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "TrainConfig": "train",
        "ModelConfig": "model",
        "EMAConfig": "ema_config",
        "NetworkConfig": "network",
        "SaveConfig": "save",
        "DatasetConfig": "datasets",
    }
)
# kohya's name -> where ai-toolkit has the same thing under a name of its own; its
# gradient_accumulation_steps counts batches as steps, so it is not the one that is meant.
PLACES: Mapping[str, tuple[str, str]] = {
    ours: (place, theirs)
    for place, names in json_text.read(Path(__file__).with_name("ai_toolkit_places.json")).items()
    for ours, theirs in names.items()
}
# Said elsewhere in a recipe, or by the plan.
OF_LORAKIT = (
    *("output_dir", "output_name", "seed", "network_train_unet_only", "sample_prompts"),
    *("sample_every_n_steps", "sample_at_first"),
)
# Two spellings of one thing, what would leave the run's folder, and what is no plain value.
NOT_OFFERED = frozenset(
    (
        *("folder_path", "dataset_path", "num_repeats", "is_reg", "prior_reg", "type"),
        *("rank", "alpha", "gradient_accumulation_steps", "start_step", "content_or_style"),
        *("push_to_hub", "hf_repo_id", "hf_private", "use_ema", "auto_memory", "batch_size"),
        *("disable_sampling", "skip_first_sample", "force_first_sample", "train_text_encoder"),
        *("is_v2", "is_xl", "is_pixart", "is_pixart_sigma", "is_auraflow", "is_v3", "is_flux"),
        *("is_lumina2", "is_ssd", "is_vega", "train_unet", "save_format"),
        *("cache_text_embeddings", "dtype", "validation_config", "trigger_word", "lorm"),
    )
)
NUMBERS = frozenset(  # without a type or a default in the source
    ("cache_size_limit", "cfg_rescale", "snr_gamma", "target_norm_std", "unet_sample_size")
)
EXPERTS = ("train_high_noise", "train_low_noise")  # in model_kwargs, of Wan 2.2 alone
_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str"}


def read_ai_toolkit(checkout: Path, commit: str = "") -> dict[str, Any]:
    """`sections` says under which key of the configuration each name of its own belongs."""
    kohyas = {*PLACES, *OF_LORAKIT}
    options: dict[str, dict[str, Any]] = {}
    sections: dict[str, list[str]] = {}
    places = [*CLASSES.values()]
    for place, name, entry in sorted(lookups(checkout), key=lambda one: places.index(one[0])):
        taken = (place, name) in PLACES.values() or name in NOT_OFFERED
        if taken or name in kohyas or name in options or not entry:
            continue
        options[name] = {"type": "float"} if name in NUMBERS else dict(entry)
        if place == "ema_config":  # unset means none at all
            options[name].pop("default", None)
        sections.setdefault(place, []).append(name)
    for name in EXPERTS:
        options[name] = {"type": "bool", "default": True}
        sections.setdefault("model_kwargs", []).append(name)
    return {
        "commit": commit,
        "from": "kohya",
        "options": {name: options[name] for name in sorted(options)},
        "scripts": {SCRIPT: sorted({*kohyas, *options})},
        "overrides": {},
        "sections": sections,
    }


def lookups(checkout: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Section, name, and type and default as far as they are plain, of every kwargs.get."""
    file = checkout / "toolkit" / "config_modules.py"
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for one in tree.body:
        place = CLASSES.get(one.name) if isinstance(one, ast.ClassDef) else None
        if place is None:
            continue
        seen: dict[str, dict[str, Any]] = {}
        for node in ast.walk(one):
            value: Any = getattr(node, "value", None)
            value = value.args[0] if _is_cast(value) else value
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_lookup(value):
                name, *default = value.args
                said = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                other = ast.unparse(default[0]).removeprefix("self.") if default else ""
                entry = seen[name.value] = seen.get(other) or _entry(said, default)
                yield place, name.value, entry


def _is_cast(node: Any) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in _TYPES and bool(node.args)


def _is_lookup(node: Any) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "kwargs.get"


def _entry(annotation: str, default: list[ast.expr]) -> dict[str, Any]:
    """Empty for a table: that is no setting of a recipe."""
    try:
        value = ast.literal_eval(default[0]) if default else None
    except ValueError:
        value = None  # computed
    if isinstance(value, dict) or "dict" in annotation.lower():
        return {}
    many = isinstance(value, list) or "List" in annotation
    words = [word for word in _TYPES if word in annotation]
    kind = words[0] if words else type(value).__name__ if value not in (None, []) else "str"
    if kind == "int" and not words:
        kind = "float"  # 1 may stand for 1.0
    if kind not in _TYPES.values():
        return {}
    found: dict[str, Any] = {"type": kind}
    if many:
        found["many"] = True
    elif value is not None:
        found["default"] = value
    return found
