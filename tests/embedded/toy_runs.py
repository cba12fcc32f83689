"""What every training at toy size begins with: drawn pictures with captions, and a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
MODULES = {"sd15": "networks.lora", "sdxl": "networks.lora", "flux": "networks.lora_flux"}


def draw_pictures(folder: Path, count: int = 4, *, wide: bool = True) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        size = (96, 64) if wide and index % 2 else (64, 64)
        Image.new("RGB", size, COLOURS[index % len(COLOURS)]).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(
            f"zwx, a {COLOURS[index % len(COLOURS)]} wall, number {index}", encoding="utf-8"
        )
    return folder


def arguments(base: Path, data: Path, out: Path, family: str, options: dict[str, Any]) -> list[str]:
    """Options as a command line: True is a flag, lists are spread, None is left out."""
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": data,
        "output_dir": out,
        "output_name": "fox",
        "network_module": MODULES[family],
        "network_dim": 4,
        "network_alpha": 2,
        "learning_rate": 1e-3,
        "resolution": "64",
        "caption_extension": ".txt",
        "max_train_epochs": 1,
        "seed": 7,
        "enable_bucket": True,
        "min_bucket_reso": 64,
        "max_bucket_reso": 128,
        "max_data_loader_n_workers": 0,
        "network_train_unet_only": True,
        "cache_latents": True,
        **options,
    }
    words = []
    for name, value in settings.items():
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, (list, tuple)):
            words += [f"--{name}", *map(str, value)]
        elif value is not None and value is not False:
            words += [f"--{name}", str(value)]
    return words
