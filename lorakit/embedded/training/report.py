"""What a run prints and logs: kohya's lines; tensorboard and wandb under kohya's tags."""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit.embedded.training.task import Task
from lorakit.embedded.training.world import World


def announce(task: Task) -> None:
    args, datasets = task.args, task.datasets
    lines = (
        "running training",
        f"  num train images * repeats: {sum(one.train_count for one in datasets)}",
        f"  num validation images * repeats: {sum(len(one.validation) for one in datasets)}",
        f"  num reg images: {sum(one.reg_count for one in datasets)}",
        f"  num batches per epoch: {task.batches}",
        f"  num epochs: {task.epochs}",
        f"  batch size per device: {', '.join(str(one.batch_size) for one in datasets)}",
        f"  gradient accumulation steps = {args.gradient_accumulation_steps}",
        f"  total optimization steps: {args.max_train_steps}",
    )
    task.world.say("\n".join(lines))


class Trackers:
    """Tensorboard and wandb; neither is imported unless asked for."""

    def __init__(self, args: argparse.Namespace, world: World) -> None:
        self._board: Any = None
        self._wandb: Any = None
        wanted = args.log_with or ("tensorboard" if args.logging_dir else None)
        if wanted is None or not world.is_main:
            return
        moment = f"{args.log_prefix or ''}{time.strftime('%Y%m%d%H%M%S')}"
        folder = f"{args.logging_dir}/{moment}" if args.logging_dir else None
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

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        if self._board is not None:
            for tag, value in values.items():
                self._board.add_scalar(tag, value, global_step=x)
        if self._wandb is not None:
            self._wandb.log({**values, "global_step": step, "epoch": epoch})

    def picture(self, number: int, path: Path, prompt: str, *, step: int) -> None:
        if self._wandb is not None:
            import wandb

            image = wandb.Image(str(path), caption=prompt)
            self._wandb.log({f"sample_{number}": image, "global_step": step})

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def rate_tags(rates: Mapping[str, float], adapted: Mapping[str, float]) -> dict[str, float]:
    """lr/unet, lr/textencoder, ..., and again under the group numbers that kohya's readers know."""
    tags = {f"lr/{name}": rate for name, rate in rates.items()}
    tags |= {f"lr/d*lr/{name}": rate for name, rate in adapted.items()}
    names = list(rates)
    text = names[0].startswith("textencoder")
    if text:
        tags["lr/textencoder"] = rates[names[0]]
    numbered = list(enumerate(names))[1 if text else 0 :]
    return tags | {f"lr/group{number}": rates[name] for number, name in numbered}
