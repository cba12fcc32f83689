"""The shape of a family. Data and three small functions; no inheritance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Weight:
    """One file (or folder) of weights that the family needs."""

    key: str  # key in the recipe's [model]: base, vae, clip_l, t5xxl, ae
    option: str  # kohya's option: pretrained_model_name_or_path, vae, clip_l, ...
    required: bool
    what: str  # for people: "the FLUX.1-dev transformer, one .safetensors file"


@dataclass(frozen=True)
class Family:
    name: str  # sd15, sdxl, flux, ...
    title: str  # "Stable Diffusion 1.5"
    script: str  # train_network.py, sdxl_train_network.py, ...
    network_module: str
    weights: tuple[Weight, ...]
    bucket_step: int  # what bucket_reso_steps must be a multiple of
    latent_suffix: str  # _sd.npz, _sdxl.npz, _flux.npz
    text_cache_suffix: str  # "", _te_outputs.npz, _flux_te.npz
    text_encoders: int
    default_resolution: int
    trainers: tuple[str, ...]  # who can run it: ("kohya", "embedded") or ("kohya",)
    defaults: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({})
    )  # the "family" layer, kohya's option names
    tokenizers: tuple[str, ...] = ()  # hub ids the script loads at start
