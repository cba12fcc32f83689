"""The words of a recipe outside [train], in the same shape as the catalogue of options."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lorakit import json_text
from lorakit.catalogue.options import Option
from lorakit.families import FAMILIES

SECTIONS = ("model", "dataset", "train", "sample", "launch")
TOP = (
    *("preset", "family", "trainer", "name", "trigger", "unset", "notes", "subject"),
    *SECTIONS,
    "stage",
)
PRESET_TOP = ("about", "extends", "trainer", "unset", *SECTIONS)
ABOUT = ("title", "family", "purpose", "machine", "cost", "origin")
PROPOSED = ("repeats", "fit")  # what `dataset add` and `prepare` are best called with
STAGE = ("name", "model", "dataset", "train")
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
    Option("resolutions", "int", many=True),
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
            *("ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a"),
            *("dpmsolver", "dpmsolver++", "dpmsingle"),
            *("k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
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
_SUBSET = {
    "str": (
        *("class_tokens", "caption_extension", "caption_separator", "keep_tokens_separator"),
        *("secondary_separator", "caption_prefix", "caption_suffix", "conditioning_data_dir"),
        "metadata_file",
    ),
    "int": ("num_repeats", "keep_tokens", "caption_dropout_every_n_epochs", "token_warmup_min"),
    "bool": (
        *("shuffle_caption", "enable_wildcard", "color_aug", "flip_aug", "random_crop"),
        *("alpha_mask", "cache_info"),
    ),
    "float": ("caption_dropout_rate", "caption_tag_dropout_rate"),
    "number": ("token_warmup_step",),
    "table": ("custom_attributes",),
}
_RESIZERS = ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area")
SUBSET = _words(
    *(Option(key, kind) for kind, keys in _SUBSET.items() for key in keys),
    Option("face_crop_aug_range", "float", many=True),
    Option("resize_interpolation", "str", choices=_RESIZERS),
)

TEXTS = ("preset", "family", "name", "trigger", "notes", "extends", *ABOUT, *PROPOSED)
TOP_WORDS: Mapping[str, Option] = MappingProxyType(
    {
        **{key: Option(key, "str") for key in TEXTS},
        "trainer": Option("trainer", "str", choices=TRAINERS),
        "unset": Option("unset", "str", many=True),
        "subject": Option("subject", "table"),
    }
)

# Options that lorakit writes itself: where to say it instead.
WRITTEN_BY_US: Mapping[str, str] = MappingProxyType(
    {
        **json_text.read(Path(__file__).with_name("written_by_us.json")),
        **{
            weight.option: f"[model] {weight.key}"
            for family in FAMILIES.values()
            for weight in family.weights
            if weight.key != "base"
        },
    }
)


def words_of(section: str, family: str = "", trainer: str = "") -> Mapping[str, Option]:
    """The keys of a section other than [train]; [model] has the family's, or all without one."""
    if section != "model":
        return {"dataset": DATASET, "sample": SAMPLE, "launch": LAUNCH}[section]
    families = [FAMILIES[family].by(trainer)] if family in FAMILIES else FAMILIES.values()
    weights = [weight for one in families for weight in one.weights]
    return {**{one.key: Option(one.key, "str", help=one.what) for one in weights}, **MODEL}


def above(key: str) -> str:
    """TOML's trap: a top-level word below a [section] belongs to that section."""
    top = {*TOP, *PRESET_TOP} - {*SECTIONS, "about", "stage", "subject"}
    return f"{key} stands above the first [section]." if key in top else ""


def home_of(key: str) -> str:
    """The section (not [train]) in which a key is known, or nothing."""
    homes = (name for name in SECTIONS if name != "train" and key in words_of(name))
    return next(homes, "")
