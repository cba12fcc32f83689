"""The shape of a family: data, no inheritance. One table each in kohya.toml and musubi.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lorakit import tomllib

BASE = "pretrained_model_name_or_path"
OF_THE_SCRIPT = ("defaults", "tokenizers", "size")  # unknown where another trainer has its own


@dataclass(frozen=True)
class Weight:
    """A file or folder of weights. Only required ones must be named in a recipe."""

    key: str  # in the recipe's [model]: base, vae, clip_l, t5xxl, ae
    option: str  # kohya's: pretrained_model_name_or_path, vae, clip_l, ...
    what: str  # for people: "the FLUX.1-dev transformer (.safetensors)"
    required: bool = True
    idle_with: tuple[str, str] = ("", "")  # an option and its value under which it is not read
    example: str = ""  # a plausible path for a new recipe: easier to correct than an empty one

    @property
    def path(self) -> str:
        return self.example or f"models/{self.key}.safetensors"


@dataclass(frozen=True)
class Size:
    """Of a family's parts, in parameters; and how much activations take for one picture at its
    usual resolution, in GB.
    """

    unet: float
    text: float
    vae: float
    plain_gb: float  # activations without gradient checkpointing
    checkpointed_gb: float
    latent_channels: int
    text_bytes: int  # of one cached text-encoder output


@dataclass(frozen=True)
class Family:
    name: str  # sd15, sdxl, flux, ...
    title: str  # "Stable Diffusion 1.5"
    script: str  # train_network.py, sdxl_train_network.py, ...
    network_module: str
    weights: tuple[Weight, ...]
    bucket_step: int  # what bucket_reso_steps must be a multiple of
    default_resolution: int = 1024
    # False: a U-Net that predicts noise (or v), reads captions through CLIP alone, and comes in one
    # file with VAE and text encoders.
    flow: bool = True
    trainers: tuple[str, ...] = ("kohya",)  # who can run it; the first is the default
    # the "family" layer, kohya's option names
    defaults: Mapping[str, Any] = field(default_factory=dict)
    films: bool = False  # whether it is trained on films, too
    controls: bool = False  # whether a picture may have control pictures: what it is made from
    tokenizers: tuple[str, ...] = ()  # hub ids the script loads when it starts
    # What kohya's sampler takes where a prompt says nothing.
    sample_steps: int = 20
    sample_scale: float = 3.5
    pipeline: str = "DiffusionPipeline"  # diffusers' class
    comfy_node: str = "LoraLoader"
    ui_word: str = "Unknown"  # A1111's and Forge's word for it
    word: str = ""  # the trainer's own, where it wants one
    size: Size | None = None  # None: not known here
    # The same family as another trainer takes it, where script, weights or defaults differ.
    variants: "Mapping[str, Family]" = field(default_factory=dict)

    def by(self, trainer: str) -> "Family":
        """As this trainer takes it."""
        return self.variants.get(trainer, self)


def read_families(file: str) -> dict[str, Family]:
    """In the file's order; its [common] is what each of them says if it says nothing else."""
    pages = tomllib.page(__file__, file)
    common = pages.pop("common", {})
    usual = common.get("defaults", {})
    return {
        name: _family(name, {**common, **page, "defaults": {**usual, **page.get("defaults", {})}})
        for name, page in pages.items()
    }


def _family(name: str, page: Mapping[str, Any]) -> Family:
    facts = {key: value for key, value in page.items() if key != "by"}
    facts["weights"] = tuple(
        Weight(key, **{"option": BASE if key == "base" else key, **one})
        for key, one in page["weights"].items()
    )
    if "size" in page:
        facts["size"] = Size(**page["size"])
    shared = {key: value for key, value in page.items() if key not in {*OF_THE_SCRIPT, "by"}}
    others = page.get("by", {}).items()
    variants = {trainer: _family(name, {**shared, **own}) for trainer, own in others}
    return Family(name, **facts, variants=variants)
