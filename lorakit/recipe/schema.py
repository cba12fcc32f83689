"""The words of a recipe outside [train]: every section's keys and what may stand there, in the
same shape as the catalogue of options.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lorakit.catalogue.options import Option
from lorakit.families import FAMILIES

SECTIONS = ("model", "dataset", "train", "sample", "launch")
TOP = (
    "preset",
    "family",
    "trainer",
    "name",
    "trigger",
    "unset",
    "notes",
    "subject",
    *SECTIONS,
    "stage",
)
PRESET_TOP = ("about", "extends", "trainer", "unset", *SECTIONS)
ABOUT = ("title", "family", "purpose", "machine", "cost", "origin")
STAGE = ("name", "dataset", "train")
TRAINERS = tuple(dict.fromkeys(name for one in FAMILIES.values() for name in one.trainers))
SHARED_WORDS = frozenset({"seed"})  # the one word that means its own thing in two sections


def _words(*options: Option) -> Mapping[str, Option]:
    return MappingProxyType({option.name: option for option in options})


MODEL = _words(
    Option("sha256", "text or table"),
    Option("allow_pickle", "bool"),
    Option("tokenizers", "str"),
    Option("network_weights", "str"),
)

DATASET = _words(
    Option("path", "str"),
    Option("reg_path", "str"),
    Option("mode", "str", choices=("toml", "folders")),
    Option("caption_extension", "str"),
    Option("subset", "table"),
    Option("rules_off", "str", many=True),
    Option("rules", "table"),
)

SAMPLE = _words(
    Option("prompts", "str", many=True),
    Option("negative", "str"),
    Option("every_n_epochs", "int"),
    Option("every_n_steps", "int"),
    Option("at_first", "bool"),
    Option("width", "int"),
    Option("height", "int"),
    Option("steps", "int"),
    Option("scale", "float"),
    Option("guidance", "float"),
    Option("seed", "int"),
    Option(
        "sampler",
        "str",
        choices=(
            "ddim",
            "pndm",
            "lms",
            "euler",
            "euler_a",
            "heun",
            "dpm_2",
            "dpm_2_a",
            "dpmsolver",
            "dpmsolver++",
            "dpmsingle",
            "k_lms",
            "k_euler",
            "k_euler_a",
            "k_dpm_2",
            "k_dpm_2_a",
        ),
    ),
)

LAUNCH = _words(
    Option("processes", "int"),
    Option("machines", "int"),
    Option("machine_rank", "int"),
    Option("main_address", "str"),
    Option("main_port", "int"),
    Option("python", "str"),
    Option("accelerate_config", "str"),
    Option("deepspeed", "bool"),
    Option("num_cpu_threads", "int"),
    Option("env", "table"),
    Option("gpu_ids", "int", many=True),
)

# What one folder of a dataset may have of its own, as kohya's dataset file allows it.
SUBSET = _words(
    Option("class_tokens", "str"),
    Option("caption_extension", "str"),
    Option("num_repeats", "int"),
    Option("shuffle_caption", "bool"),
    Option("caption_separator", "str"),
    Option("keep_tokens", "int"),
    Option("keep_tokens_separator", "str"),
    Option("secondary_separator", "str"),
    Option("enable_wildcard", "bool"),
    Option("caption_prefix", "str"),
    Option("caption_suffix", "str"),
    Option("custom_attributes", "table"),
    Option("caption_dropout_rate", "float"),
    Option("caption_dropout_every_n_epochs", "int"),
    Option("caption_tag_dropout_rate", "float"),
    Option("token_warmup_min", "int"),
    Option("token_warmup_step", "number"),
    Option("color_aug", "bool"),
    Option("flip_aug", "bool"),
    Option("random_crop", "bool"),
    Option("face_crop_aug_range", "float", many=True),
    Option(
        "resize_interpolation",
        "str",
        choices=("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area"),
    ),
    Option("alpha_mask", "bool"),
    Option("conditioning_data_dir", "str"),
    Option("cache_info", "bool"),
)

TEXT = {
    key: Option(key, "str")
    for key in (
        "preset",
        "family",
        "name",
        "trigger",
        "notes",
        "extends",
        "title",
        "purpose",
        "machine",
        "cost",
        "origin",
    )
}
TOP_WORDS: Mapping[str, Option] = MappingProxyType(
    {
        **TEXT,
        "trainer": Option("trainer", "str", choices=TRAINERS),
        "unset": Option("unset", "str", many=True),
        "subject": Option("subject", "table"),
    }
)

# Options that lorakit writes itself: where the person says it instead.
WRITTEN_BY_US: Mapping[str, str] = MappingProxyType(
    {
        "pretrained_model_name_or_path": "[model] base",
        **{
            weight.option: f"[model] {weight.key}"
            for family in FAMILIES.values()
            for weight in family.weights
            if weight.key != "base"
        },
        "network_weights": "[model] network_weights",
        "tokenizer_cache_dir": "[model] tokenizers",
        "train_data_dir": "[dataset] path",
        "reg_data_dir": "[dataset] reg_path",
        "dataset_config": "[dataset] path",
        "in_json": "[dataset] path",
        "caption_extention": "[dataset] caption_extension",
        "conditioning_data_dir": "[dataset.subset.FOLDER] conditioning_data_dir",
        "sample_prompts": "[sample] prompts",
        "sample_every_n_epochs": "[sample] every_n_epochs",
        "sample_every_n_steps": "[sample] every_n_steps",
        "sample_at_first": "[sample] at_first",
        "sample_sampler": "[sample] sampler",
        "deepspeed": "[launch] deepspeed",
        "config_file": "",
        "output_config": "",
        "output_dir": "",
        "logging_dir": "",
        "console_log_file": "",
        "resume": "`lorakit resume RUN`",
        "resume_from_huggingface": "`lorakit resume RUN`",
        "initial_epoch": "`lorakit resume RUN`",
        "initial_step": "`lorakit resume RUN`",
        "skip_until_initial_step": "`lorakit resume RUN`",
        "huggingface_token": "the environment variable HF_TOKEN",
        "wandb_api_key": "the environment variable WANDB_API_KEY",
    }
)


def words_of(section: str, family: str = "") -> Mapping[str, Option]:
    """The keys of a section other than [train]; [model] depends on the family, or knows every
    family's when none is given.
    """
    if section == "model":
        weights = [
            w
            for f in ([FAMILIES[family]] if family in FAMILIES else FAMILIES.values())
            for w in f.weights
        ]
        return {
            **{weight.key: Option(weight.key, "str", help=weight.what) for weight in weights},
            **MODEL,
        }
    return {"dataset": DATASET, "sample": SAMPLE, "launch": LAUNCH}[section]


def above(key: str) -> str:
    """TOML's trap: a top-level word below a [section] belongs to that section."""
    return (
        f"{key} stands above the first [section]."
        if key in {*TOP, *PRESET_TOP} - {*SECTIONS, "about", "stage", "subject"}
        else ""
    )


def home_of(key: str) -> str:
    """The section (not [train]) in which a key is known, or nothing."""
    return next(
        (section for section in SECTIONS if section != "train" and key in words_of(section)), ""
    )
