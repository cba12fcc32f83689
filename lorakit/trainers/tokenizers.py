"""The tokenizers that scripts load when they start: where they are on this machine, and, for
sd-scripts, as a folder for tokenizer_cache_dir, so that nothing is downloaded.

CLIP's two are made from the byte-pair table that lorakit ships; T5's is copied from the checkout.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lorakit.config import cache_dir, home
from lorakit.data import clip_merges, clip_vocabulary
from lorakit.families import FAMILIES
from lorakit.files import write_atomic
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.kohya.locate import HOME

PADS = {
    "openai/clip-vit-large-patch14": "<|endoftext|>",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": "!",
}
T5 = "google/t5-v1_1-xxl"
T5_FOLDER = T5.replace("/", "_")  # inside tokenizer_cache_dir
T5_HINT = (
    f"Put the tokenizer.json of {T5} beside the t5xxl file, or into"
    f" TOKENIZER_CACHE_DIR/{T5_FOLDER}."
)
CONFIG = {
    "add_prefix_space": False,
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "model_max_length": 77,
    "tokenizer_class": "CLIPTokenizer",
}


def is_cached(name: str) -> bool:
    """Whether some snapshot of this repository is in the hub's cache."""
    hub = Path(
        os.environ.get("HF_HUB_CACHE")
        or Path(os.environ.get("HF_HOME") or home() / ".cache/huggingface") / "hub"
    )
    return (hub / f"models--{name.replace('/', '--')}" / "snapshots").is_dir()


def folder() -> Path:
    """Where they are, or will be after `ensure`."""
    return cache_dir() / "tokenizers"


def provides(name: str) -> bool:
    """Whether this one (a hub id) can be had without the network."""
    return name in PADS or (name == T5 and _t5() is not None)


def missing(resolved: Resolved) -> list[str]:
    """Those the script would download: neither here, nor in the hub's cache, nor in the recipe's
    own folder.
    """
    names = FAMILIES[resolved.family].tokenizers
    own = Options(resolved).text("tokenizer_cache_dir")
    if own and Path(own) == folder():  # filled when the run starts
        return [name for name in names if not provides(name)]
    beside = {name for name in names if own and (Path(own) / name.replace("/", "_")).is_dir()}
    return [name for name in names if name not in beside and not is_cached(name)]


def ensure(names: Iterable[str]) -> Path:
    """The folder with these in it; what cannot be provided is left to the script."""
    for name in names:
        own = folder() / name.replace("/", "_")
        if name in PADS and not (own / "merges.txt").is_file():
            config = json.dumps({**CONFIG, "pad_token": PADS[name]})
            merges = "\n".join(["#version: 0.2", *map(" ".join, clip_merges()), ""])
            write_atomic(own / "vocab.json", json.dumps(clip_vocabulary(), ensure_ascii=False))
            write_atomic(own / "tokenizer_config.json", config)
            write_atomic(own / "merges.txt", merges)
        elif name == T5 and (source := _t5()) and not own.is_dir():
            shutil.copytree(source, own)
    return folder()


def _t5() -> Path | None:
    """The checkout's own."""
    located = HOME.known()
    place = located.directory / "configs" / "t5_old" if located else None
    return place if place and (place / "spiece.model").is_file() else None


def t5_places(tokenizer_cache_dir: str, t5_folder: Path, base: Path | None) -> list[Path]:
    """Where the embedded trainer looks for T5's tokenizer.json, in order; `t5_folder` holds T5's
    weights, `base` is a model in diffusers form.
    """
    vendored = _t5()
    return [
        *([Path(tokenizer_cache_dir).expanduser() / T5_FOLDER] if tokenizer_cache_dir else ()),
        *([base / "tokenizer_2"] if base else ()),
        t5_folder,
        t5_folder.parent / "tokenizer_2",
        *([vendored] if vendored else ()),
    ]


def has_tokenizer(place: Path) -> bool:
    return (place / "tokenizer.json").is_file()
