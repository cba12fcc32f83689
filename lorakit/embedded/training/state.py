"""States: everything that a resumed run needs to go on with the same bytes. Tensors and JSON, no
pickle; a folder is complete or absent.
"""

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lorakit.embedded.network.lora import Network
from lorakit.embedded.training.optimizers import Average, LossScale, Optimizer
from lorakit.errors import Fault, RecipeError
from lorakit.files import hidden_prefix, sweep


@dataclass(frozen=True)
class Watch:
    """Is the validation loss still getting better? The loop acts on it."""

    patience: int | None  # None: never stop, only remember the best
    min_delta: float = 0.0
    best: float = math.inf
    best_step: int = 0
    without_gain: int = 0
    last: float = math.inf
    last_step: int = -1

    def after(self, loss: float, step: int) -> "Watch":
        seen = replace(self, last=loss, last_step=step)
        if loss < self.best - self.min_delta:
            return replace(seen, best=loss, best_step=step, without_gain=0)
        return replace(seen, without_gain=self.without_gain + 1)

    @property
    def improved(self) -> bool:
        return self.without_gain == 0 and self.best < math.inf

    @property
    def should_stop(self) -> bool:
        return self.patience is not None and self.without_gain >= self.patience


@dataclass
class Position:
    """How far the training is, always between two optimiser steps."""

    step: int = 0  # optimiser steps done
    epoch: int = 0  # from 0
    batch: int = 0  # batches of this epoch done, by this process
    micro_step: int = 0  # batches done since the start
    losses: list[float] = field(default_factory=list)  # per batch of an epoch, for avr_loss
    watch: Watch | None = None

    def note(self, epoch: int, batch: int, loss: float) -> None:
        if epoch == 0 or batch >= len(self.losses):
            self.losses.append(loss)
        else:
            self.losses[batch] = loss

    @property
    def average(self) -> float:
        """avr_loss: the mean over the last epoch-length of batches."""
        return sum(self.losses) / len(self.losses) if self.losses else 0.0


@dataclass(frozen=True)
class Parts:
    """What a training changes."""

    network: Network
    optimizer: Optimizer
    average: Average | None
    loss_scale: LossScale | None


def save(folder: Path, position: Position, parts: Parts, identity: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = _hidden_folder(folder)
    average, loss_scale = parts.average, parts.loss_scale
    try:
        save_file(parts.network.state_dict(), beside / "model.safetensors")
        tensors, plain = parts.optimizer.state()
        save_file(tensors, beside / "optimizer.safetensors")
        if average is not None:
            ema = {name: flat.cpu() for name, flat in average.flat.items()}
            save_file(ema, beside / "ema.safetensors")
        facts = {
            "current_epoch": position.epoch,
            "current_step": position.step,  # kohya's two
            "batch": position.batch,
            "micro_step": position.micro_step,
            "losses": position.losses,
            "watch": asdict(position.watch) if position.watch else None,
            "optimizer": plain,
            "identity": identity,
            "loss_scale": loss_scale.facts() if loss_scale else None,
        }
        (beside / "train_state.json").write_text(json.dumps(facts), encoding="utf-8")
        beside.chmod(0o755)
        _move_into_place(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _move_into_place(beside: Path, folder: Path) -> None:
    """A folder cannot replace another in one act, so an old one steps aside first."""
    old = None
    if folder.exists():
        old = _hidden_folder(folder, "old.")
        os.replace(folder, old / folder.name)
    os.replace(beside, folder)
    if old is not None:
        shutil.rmtree(old)


def _hidden_folder(folder: Path, more: str = "") -> Path:
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=hidden_prefix(folder) + more))


def tidy(folder: Path) -> None:
    """After a kill: what is half-written goes; a state that stepped aside comes back."""
    for old in folder.glob(".*.[0-9]*-[0-9]*-????????.old.*/*-state"):
        if not (folder / old.name).exists():
            old.replace(folder / old.name)
    sweep((*folder.glob(".*"), *folder.glob("sample/.*")))


def load(folder: Path, parts: Parts, identity: dict[str, Any]) -> Position:
    """Refuses a state of another run: the bytes would not be the same."""
    from safetensors.torch import load_file

    facts = facts_of(folder)
    before = facts["identity"]
    faults = [
        Fault(f"{folder} {name}", f"was {before.get(name)!r} in that run and is {value!r} now.")
        for name, value in identity.items()
        if before.get(name) != value
    ]
    if faults:
        hint = "Start anew from its LoRA with network_weights."
        raise RecipeError("This state belongs to another run.", faults=faults, hint=hint)
    missing, _ = parts.network.load(load_file(folder / "model.safetensors"))
    assert not missing, missing
    parts.optimizer.load(load_file(folder / "optimizer.safetensors"), facts["optimizer"])
    if parts.average is not None:
        with torch.no_grad():
            for name, tensor in load_file(folder / "ema.safetensors").items():
                parts.average.flat[name].copy_(tensor)
    scale = facts["loss_scale"]
    if parts.loss_scale is not None and scale:
        parts.loss_scale.load(scale)
    position = Position(
        facts["current_step"],
        facts["current_epoch"],
        facts["batch"],
        facts["micro_step"],
        list(facts["losses"]),
        Watch(**facts["watch"]) if facts["watch"] else None,
    )
    parts.optimizer.set_step(position.step)
    return position


def facts_of(folder: Path) -> dict[str, Any]:
    """What a state says beside its tensors."""
    try:
        text = (folder / "train_state.json").read_text(encoding="utf-8")
        facts: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{folder}: not a state that can be resumed ({error}).") from error
    if "identity" not in facts:
        what = f"{folder}: a state of kohya's scripts; the embedded trainer resumes its own only."
        raise RecipeError(what, hint="Start from its model.safetensors with network_weights.")
    return facts
