"""What is trained, on what and for how long: all that is known before any weights are loaded."""

import argparse
import math
import random
from dataclasses import dataclass
from pathlib import Path

from lorakit.embedded.data.batches import epoch_batches, share
from lorakit.embedded.data.dataset import Dataset, read_datasets
from lorakit.embedded.drawing.sample_prompts import Prompt, read_prompts
from lorakit.embedded.models import Base, open_base
from lorakit.embedded.training.world import World
from lorakit.errors import RecipeError
from lorakit.weights.safetensors import read_header


@dataclass(frozen=True)
class Task:
    args: argparse.Namespace
    world: World
    base: Base
    datasets: tuple[Dataset, ...]
    seed: int
    batches: int  # of an epoch, for this process
    epochs: int
    prompts: tuple[Prompt, ...]


def open_task(args: argparse.Namespace, world: World, family: str, seed: int | None) -> Task:
    """`seed`: of a run that is resumed. Where there is none one is drawn, for all processes."""
    if args.seed is not None:
        seed = args.seed
    elif seed is None:
        seed = world.highest(random.SystemRandom().randrange(2**31))
    if args.network_weights:
        read_header(Path(args.network_weights))  # refuses what is not one
    datasets = read_datasets(args, seed)
    base = open_base(args, family)
    for note in base.notes:
        world.say(f"note: {note}")
    # latents must come in integer numbers, and FLUX packs them in pairs
    unit = base.latent_step * (2 if family == "flux" else 1)
    for width, height in (bucket for dataset in datasets for bucket in dataset.buckets):
        if width % unit or height % unit:
            what = f"both sides must be multiples of {unit} for this model."
            raise RecipeError(f"resolution {width}x{height}: {what}")
    batches = len(share(epoch_batches(datasets, seed, 1), world.rank, world.size))
    epochs = _settle_length(args, world, batches)
    prompts = tuple(read_prompts(Path(args.sample_prompts))) if args.sample_prompts else ()
    return Task(args, world, base, datasets, seed, batches, epochs, prompts)


def _settle_length(args: argparse.Namespace, world: World, batches: int) -> int:
    """Steps from epochs and epochs from steps, whichever was asked for; the number of epochs."""
    steps_per_epoch = math.ceil(batches / args.gradient_accumulation_steps)
    if args.max_train_epochs is not None:
        args.max_train_steps = args.max_train_epochs * steps_per_epoch
        steps = f"{args.max_train_epochs} epochs is: {args.max_train_steps}"
        world.say(f"override steps. steps for {steps}")
    epochs = math.ceil(args.max_train_steps / steps_per_epoch)
    if args.save_n_epoch_ratio:
        args.save_every_n_epochs = epochs // args.save_n_epoch_ratio or 1
    return epochs
