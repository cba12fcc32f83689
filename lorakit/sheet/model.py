"""The nouns of a sheet. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DrawnCheckpoint:
    """A LoRA of a run, with the place in the training it comes from."""

    path: Path
    label: str  # epoch 4, step 250, final
    order: tuple[int, int]  # sorts as the training went; the final one last


@dataclass(frozen=True)
class Column:
    """The base alone, or one checkpoint at one strength."""

    label: str
    lora: Path | None = None
    strength: float = 0.0
    note: str | None = None  # below the label, instead of the strength

    @property
    def under(self) -> str:
        if self.note is None:
            return f"strength {self.strength:g}" if self.lora else "no LoRA"
        return self.note


@dataclass(frozen=True)
class SheetRow:
    """One prompt, with everything its picture depends on but the seed."""

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 30
    scale: float = 7.5


@dataclass(frozen=True)
class Source:
    """What a sheet needs to know of a run."""

    run_dir: Path
    name: str
    family: str
    options: Mapping[str, Any]  # kohya's, of the weights: pretrained_model_name_or_path, vae, ...
    checkpoints: tuple[DrawnCheckpoint, ...]  # oldest first
    rows: tuple[SheetRow, ...]  # the run's own sample prompts
    plain: SheetRow  # without a prompt: what another one takes of the training
    seed: int


@dataclass(frozen=True)
class Choice:
    """What you asked for: which checkpoints, strengths, prompts, and how many seeds."""

    checkpoints: str = "all"  # all, last, last:3, or numbers, labels and names: 4,final
    strengths: tuple[float, ...] = (0.6, 0.8, 1.0)
    prompts: tuple[str, ...] = ()  # () is the run's own
    seeds: int = 2
    base: bool = True  # a first column without any LoRA
    cells: tuple[tuple[str, float], ...] = ()  # exactly these: file name and strength


@dataclass(frozen=True)
class Sheet:
    """A grid ready to be drawn; `pictures` has the files, one per seed, of each row and column."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    pictures: Mapping[tuple[int, int], tuple[Path, ...]]  # (row, column)
    footer: str = ""
