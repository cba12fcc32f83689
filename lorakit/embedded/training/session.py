"""Everything a training needs, brought together in the order that needs the least memory: data,
latents, texts, then the denoiser.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lorakit.embedded.data.batches import epoch_batches, share
from lorakit.embedded.data.cache import Latents
from lorakit.embedded.data.dataset import Dataset, read_datasets
from lorakit.embedded.drawing.sample_prompts import Prompt, read_prompts
from lorakit.embedded.events import emit
from lorakit.embedded.models import Base, open_base
from lorakit.embedded.network import build, checkpoints, metadata
from lorakit.embedded.network.ema import Average
from lorakit.embedded.network.lora import Network
from lorakit.embedded.training import state
from lorakit.embedded.training.early_stop import Watch
from lorakit.embedded.training.loss_scale import LossScale
from lorakit.embedded.training.objective import Objective
from lorakit.embedded.training.optimizers import Optimizer
from lorakit.embedded.training.report import announce
from lorakit.embedded.training.texts import Texts, open_texts
from lorakit.embedded.training.world import World
from lorakit.errors import RecipeError
from lorakit.weights.safetensors import read_header


@dataclass
class Session:
    args: argparse.Namespace
    world: World
    seed: int
    base: Base
    datasets: tuple[Dataset, ...]
    epochs: int
    prompts: tuple[Prompt, ...]
    latents: Latents
    texts: Texts
    objective: Objective
    parts: state.Parts
    position: state.Position
    identity: dict[str, Any]
    known: dict[str, str]  # the metadata that is known at the start
    hashes: metadata.Hashes

    @property
    def network(self) -> Network:
        return self.parts.network

    @property
    def optimizer(self) -> Optimizer:
        return self.parts.optimizer

    @property
    def average(self) -> Average | None:
        return self.parts.average

    @property
    def loss_scale(self) -> LossScale | None:
        return self.parts.loss_scale


def prepare(args: argparse.Namespace, world: World, family: str) -> Session:
    if world.first_here:
        checkpoints.tidy(Path(args.output_dir), args.output_name)
    world.wait()
    resumed = state.read_identity(Path(args.resume)) if args.resume else {}
    seed = args.seed if args.seed is not None else resumed.get("seed", _common_seed(world))
    if args.network_weights:
        read_header(Path(args.network_weights))  # refuses what is not one
    datasets = read_datasets(args, seed)
    base, hashes = _open_base(args, world, family, datasets)
    batches = len(share(epoch_batches(datasets, seed, 1), world.rank, world.size))
    epochs = _settle_length(args, world, batches)
    prompts = tuple(read_prompts(Path(args.sample_prompts))) if args.sample_prompts else ()

    latents = _latents(args, world, base, datasets)
    texts = open_texts(args, world, base, datasets, seed=seed, epochs=epochs, prompts=prompts)
    emit("phase", phase="loading")
    denoiser = _denoiser(args, world, base)
    learning = texts.encoders if texts.trained else ()
    world.say(f"import network module: {args.network_module}")
    network = build.build(args, world, base, denoiser=denoiser, encoders=learning, seed=seed)
    if args.gradient_checkpointing:
        for part in (denoiser, *learning):
            part.enable_gradient_checkpointing(draws=network.draws)
    parts = _parts(args, world, network)
    objective = Objective(
        args,
        world,
        base,
        denoiser=denoiser,
        latents=latents,
        texts=texts,
        seed=seed,
        total_steps=args.max_train_steps,
    )
    identity = _identity(args, world, datasets, parts, seed=seed, batches=batches, resumed=resumed)
    position = _position(args, world, parts, identity)
    announce(args, world, datasets, batches=batches, epochs=epochs)
    pace = parts.optimizer.described
    known = metadata.training(
        args, base, datasets, identity, batches=batches, epochs=epochs, optimizer=pace
    )
    return Session(
        args,
        world,
        seed,
        base,
        datasets,
        epochs,
        prompts,
        latents,
        texts,
        objective,
        parts,
        position,
        identity,
        known,
        hashes,
    )


def _open_base(
    args: argparse.Namespace, world: World, family: str, datasets: Sequence[Dataset]
) -> tuple[Base, metadata.Hashes]:
    base = open_base(args, family)
    hashes = metadata.Hashes({"sd_model": args.pretrained_model_name_or_path, "vae": args.vae})
    if world.is_main and not args.no_metadata:
        hashes.start()
    for note in base.notes:
        world.say(f"note: {note}")
    # latents must come in integer numbers, and FLUX packs them in pairs
    unit = base.latent_step * (2 if family == "flux" else 1)
    for width, height in (bucket for dataset in datasets for bucket in dataset.buckets):
        if width % unit or height % unit:
            what = f"both sides must be multiples of {unit} for this model."
            raise RecipeError(f"resolution {width}x{height}: {what}")
    return base, hashes


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


def _parts(args: argparse.Namespace, world: World, network: Network) -> state.Parts:
    world.say("prepare optimizer, data loader etc.")
    optimizer = Optimizer(args, network, args.max_train_steps, world.size)
    average = Average(network, args.ema_decay) if args.ema_decay else None
    scale = LossScale(world.device) if world.precision == "fp16" else None
    return state.Parts(network, optimizer, average, scale)


def _identity(
    args: argparse.Namespace,
    world: World,
    datasets: Sequence[Dataset],
    parts: state.Parts,
    *,
    seed: int,
    batches: int,
    resumed: dict[str, Any],
) -> dict[str, Any]:
    """What must be equal for a state to go on with the same bytes."""
    anyway = resumed and os.environ.get("LORAKIT_ANYWAY")
    return {
        "seed": seed,
        "processes": world.size,
        "batches_per_epoch": batches,
        "dataset": resumed.get("dataset") if anyway else _digest(datasets),
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "optimizer": parts.optimizer.name,
        "adapters": len(parts.network.adapters),
        "weights": sum(flat.numel() for flat in parts.network.flat.values()),
        "ema": bool(parts.average),
    }


def _position(
    args: argparse.Namespace, world: World, parts: state.Parts, identity: dict[str, Any]
) -> state.Position:
    """The start, or the state's step: the same on every machine, with something left to do."""
    if not args.resume:
        watch = Watch(args.early_stop_patience, args.early_stop_min_delta or 0.0)
        return state.Position(watch=watch)
    position = state.load(Path(args.resume), parts, identity)
    this = f"{args.resume}: this state has {position.step} steps"
    if not world.agree(position.step):
        raise RecipeError(
            f"{this}; another machine has one with fewer or more.",
            hint="Move a newer state than the oldest of these out of its output folder, and resume"
            " on every machine.",
        )
    # equal: killed between the last state and the last file, which is then written
    if position.step > args.max_train_steps:
        raise RecipeError(f"{this} already; max_train_steps is {args.max_train_steps}.")
    return position


def _digest(datasets: Sequence[Dataset]) -> str:
    """Which pictures under which captions, how often and how large; not where their folder is."""

    def of(dataset: Dataset) -> tuple[Any, ...]:
        images = (*dataset.images, *dataset.validation)
        listed: list[Any] = [(i.path.name, i.size, i.bucket, i.caption, i.repeats) for i in images]
        listed += [(i.path.name, "masked") for i in images if i.masked]
        return dataset.batch_size, dataset.rules.resolution, listed

    text = repr([of(dataset) for dataset in datasets])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _common_seed(world: World) -> int:
    """No seed was given: one is drawn, the same for all processes, and recorded."""
    return world.highest(random.SystemRandom().randrange(2**31))


def _latents(
    args: argparse.Namespace, world: World, base: Base, datasets: Sequence[Dataset]
) -> Latents:
    on_disk = bool(args.cache_latents_to_disk)
    latents = Latents(
        base,
        world,
        no_half_vae=args.no_half_vae,
        cached=bool(args.cache_latents or on_disk),
        on_disk=on_disk,
        batch_size=args.vae_batch_size or 1,
    )
    if latents.cached:
        emit("phase", phase="caching")
        images = [image for dataset in datasets for image in (*dataset.images, *dataset.validation)]
        if on_disk and world.size > 1:  # a share each, then all find all
            latents.prepare(images[world.rank :: world.size], lambda _done, _all: None)
            world.wait()
        latents.prepare(images, lambda done, count: emit("cached", done=done, of=count))
        latents.close()
    return latents


def _denoiser(args: argparse.Namespace, world: World, base: Base) -> nn.Module:
    swapped = getattr(args, "blocks_to_swap", None)
    form, few = args.frozen_linear, args.fp8_base or args.fp8_base_unet
    if not (form or few or swapped):
        return base.load_denoiser(world.weight_dtype, world.device)
    from lorakit.embedded.models.low_bits import shrink
    from lorakit.embedded.models.swap import Swap

    denoiser: Any = base.load_denoiser(world.weight_dtype, "cpu")  # the device never holds it whole
    if form or few:
        shrink(denoiser, world.weight_dtype, form, world.device)
    if not swapped:
        return denoiser.to(world.device)
    denoiser.swap = Swap(denoiser.swappable(swapped), world.device)
    denoiser.swap.stay(denoiser)
    return denoiser
