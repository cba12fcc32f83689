"""What a run says while it runs: kohya's lines and progress bar, tensorboard and wandb under
kohya's tags.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lorakit.embedded.data.dataset import Dataset
from lorakit.embedded.training.world import World


def announce(
    args: argparse.Namespace,
    world: World,
    datasets: Sequence[Dataset],
    *,
    batches: int,
    epochs: int,
) -> None:
    say = world.say
    say("running training")
    say(f"  num train images * repeats: {sum(dataset.train_count for dataset in datasets)}")
    say(
        f"  num validation images * repeats: {sum(len(dataset.validation) for dataset in datasets)}"
    )
    say(f"  num reg images: {sum(dataset.reg_count for dataset in datasets)}")
    say(f"  num batches per epoch: {batches}")
    say(f"  num epochs: {epochs}")
    say(f"  batch size per device: {', '.join(str(dataset.batch_size) for dataset in datasets)}")
    say(f"  gradient accumulation steps = {args.gradient_accumulation_steps}")
    say(f"  total optimization steps: {args.max_train_steps}")


class Window:
    """avr_loss: the mean over the last epoch-length of batches. The list is the state's own."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def add(self, epoch: int, batch: int, loss: float) -> None:
        if epoch == 0 or batch >= len(self.losses):
            self.losses.append(loss)
        else:
            self.losses[batch] = loss

    @property
    def mean(self) -> float:
        return sum(self.losses) / len(self.losses) if self.losses else 0.0


class Bar:
    """`steps:  33%|███▎      | 5/15 [01:12<02:25, 14.55s/it, avr_loss=1.09]` on standard error."""

    def __init__(self, world: World, total: int, done: int) -> None:
        self._bar = tqdm(
            total=total, initial=done, smoothing=0, disable=not world.is_main, desc="steps"
        )

    def step(self) -> None:
        self._bar.update(1)

    def note(self, facts: Mapping[str, Any]) -> None:
        self._bar.set_postfix(**facts)

    def close(self) -> None:
        self._bar.close()


class Trackers:
    """Tensorboard and wandb; neither is imported unless asked for."""

    def __init__(self, args: argparse.Namespace, world: World) -> None:
        self._board: Any = None
        self._wandb: Any = None
        wanted = args.log_with or ("tensorboard" if args.logging_dir else None)
        if wanted is None or not world.is_main:
            return
        folder = (
            f"{args.logging_dir}/{args.log_prefix or ''}{time.strftime('%Y%m%d%H%M%S')}"
            if args.logging_dir
            else None
        )
        name = args.log_tracker_name or "network_train"
        if wanted in ("tensorboard", "all"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(f"{folder}/{name}")
        if wanted in ("wandb", "all"):
            import wandb

            if folder:
                os.makedirs(folder, exist_ok=True)
            self._wandb = wandb.init(project=name, name=args.wandb_run_name, dir=folder)
            self._wandb.define_metric("*", step_metric="global_step")  # else it counts the calls

    @property
    def active(self) -> bool:
        return self._board is not None or self._wandb is not None

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        if self._board is not None:
            for tag, value in values.items():
                self._board.add_scalar(tag, value, global_step=x)
        if self._wandb is not None:
            self._wandb.log({**values, "global_step": step, "epoch": epoch})

    def picture(self, number: int, path: Path, prompt: str, *, step: int) -> None:
        if self._wandb is not None:
            import wandb

            self._wandb.log(
                {f"sample_{number}": wandb.Image(str(path), caption=prompt), "global_step": step}
            )

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def rate_tags(rates: Mapping[str, float], adapted: Mapping[str, float]) -> dict[str, float]:
    """lr/unet, lr/textencoder, ..., and the second set under group numbers that kohya's readers
    know.
    """
    tags = {f"lr/{name}": rate for name, rate in rates.items()}
    tags |= {f"lr/d*lr/{name}": rate for name, rate in adapted.items()}
    names = list(rates)
    text = names[0].startswith("textencoder")
    if text:
        tags["lr/textencoder"] = rates[names[0]]
    tags |= {
        f"lr/group{index}": rates[name] for index, name in enumerate(names) if index or not text
    }
    return tags
