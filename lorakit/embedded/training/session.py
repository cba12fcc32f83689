"""Everything a training needs, brought together in the order that needs the least memory: data,
latents, texts, then the denoiser.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorakit.embedded.data.batches import epoch_batches, validation_batches
from lorakit.embedded.data.cache import DiskStore, Latents, Texts
from lorakit.embedded.data.dataset import Dataset
from lorakit.embedded.network import metadata, targets
from lorakit.embedded.training import state
from lorakit.embedded.training.objective import Objective
from lorakit.embedded.training.optimizers import Average, LossScale, Optimizer
from lorakit.embedded.training.report import announce
from lorakit.embedded.training.task import Task, open_task
from lorakit.embedded.training.world import World, emit
from lorakit.errors import RecipeError

MOST_CAPTIONS = 4096  # kept in memory when nobody asked for a cache; more are encoded as they come


@dataclass(frozen=True)
class Session(Task, state.Parts):
    """A task with everything loaded, and how far it is."""

    latents: Latents
    texts: Texts
    objective: Objective
    position: state.Position
    identity: dict[str, Any]
    known: dict[str, str]  # the metadata that is known at the start
    hashes: Future[dict[str, str]]  # whoever saves waits for them


def prepare(args: argparse.Namespace, world: World, family: str) -> Session:
    if world.first_here:
        state.tidy(Path(args.output_dir))
    world.wait()
    resumed = state.facts_of(Path(args.resume))["identity"] if args.resume else {}
    task = open_task(args, world, family, resumed.get("seed"))
    named = {"sd_model": args.pretrained_model_name_or_path, "vae": args.vae}
    known = world.is_main and not args.no_metadata
    hashes = ThreadPoolExecutor(1).submit(metadata.base_hashes, named if known else {})

    latents = _latents(task)
    texts = open_texts(task)
    emit("phase", phase="loading")
    denoiser = _denoiser(task)
    learning = texts.encoders if texts.trained else ()
    world.say(f"import network module: {args.network_module}")
    network = targets.build(task, denoiser, learning, ordered=resumed.get("ordered", not resumed))
    if args.gradient_checkpointing:
        for part in (denoiser, *learning):
            part.enable_gradient_checkpointing(draws=network.draws)
    world.say("prepare optimizer, data loader etc.")
    parts = state.Parts(
        network,
        Optimizer(args, network, world.size),
        Average(network, args.ema_decay) if args.ema_decay else None,
        LossScale(world.device) if world.precision == "fp16" else None,
    )
    identity = _identity(task, parts, resumed)
    position = _position(task, parts, identity)
    announce(task)
    return Session(
        **vars(task),
        **vars(parts),
        latents=latents,
        texts=texts,
        objective=Objective(task, denoiser, latents, texts),
        position=position,
        identity=identity,
        known=metadata.training(task, identity["dataset"], parts.optimizer.described),
        hashes=hashes,
    )


def _identity(task: Task, parts: state.Parts, resumed: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a state to go on with the same bytes."""
    anyway = resumed and os.environ.get("LORAKIT_ANYWAY")
    return {
        "seed": task.seed,
        "processes": task.world.size,
        "batches_per_epoch": task.batches,
        "dataset": resumed.get("dataset") if anyway else _digest(task.datasets),
        "gradient_accumulation_steps": task.args.gradient_accumulation_steps,
        "optimizer": parts.optimizer.name,
        "adapters": len(parts.network.adapters),
        "ordered": parts.network.ordered,
        "weights": sum(flat.numel() for flat in parts.network.flat.values()),
        "ema": bool(parts.average),
    }


def _position(task: Task, parts: state.Parts, identity: dict[str, Any]) -> state.Position:
    """The start, or the state's step: the same on every machine, with something left to do."""
    args = task.args
    if not args.resume:
        watch = state.Watch(args.early_stop_patience, args.early_stop_min_delta or 0.0)
        return state.Position(watch=watch)
    position = state.load(Path(args.resume), parts, identity)
    this = f"{args.resume}: this state has {position.step} steps"
    if task.world.highest(position.step) != -task.world.highest(-position.step):
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


def _latents(task: Task) -> Latents:
    world = task.world
    latents = Latents(task.base, world, task.args)
    if latents.cached:
        emit("phase", phase="caching")
        images = [image for one in task.datasets for image in (*one.images, *one.validation)]
        if latents.on_disk and world.size > 1:  # a share each, then all find all
            latents.prepare(images[world.rank :: world.size], lambda _done, _all: None)
            world.wait()
        latents.prepare(images, lambda done, count: emit("cached", done=done, of=count))
        latents.close()
    return latents


def _denoiser(task: Task) -> nn.Module:
    args, world, base = task.args, task.world, task.base
    swapped = getattr(args, "blocks_to_swap", None)
    form, few = args.frozen_linear, args.fp8_base or args.fp8_base_unet
    if not (form or few or swapped):
        return base.load_denoiser(world.weight_dtype, world.device)
    from lorakit.embedded.models.low_bits import shrink
    from lorakit.embedded.models.swap import BlockSwap

    denoiser: Any = base.load_denoiser(world.weight_dtype, "cpu")  # the device never holds it whole
    if form or few:
        shrink(denoiser, world.weight_dtype, form, world.device)
    if not swapped:
        return denoiser.to(world.device)
    denoiser.swap = BlockSwap(denoiser.swappable(swapped), world.device)
    denoiser.swap.stay(denoiser)
    return denoiser


def open_texts(task: Task) -> Texts:
    """Encoders that do not learn are asked once for every caption of the run, then dropped."""
    args, world, base = task.args, task.world, task.base
    on_disk = bool(args.cache_text_encoder_outputs_to_disk)
    learning = not args.network_train_unet_only
    asked = args.cache_text_encoder_outputs or on_disk
    captions = _captions(task, None if asked else MOST_CAPTIONS)
    # On the CPU CLIP stays in float32, as kohya keeps it; T5 would take 19 GB.
    wide = world.device.type == "cpu" and base.family != "flux"
    encoders = base.load_encoders(torch.float32 if wide else world.weight_dtype, world.device)
    store = DiskStore("text") if on_disk else None
    texts = Texts(base, world.device, base.load_tokenizers(), encoders, store)
    flux_clip = base.family == "flux" and learning
    texts.trained = learning
    if captions is None or (learning and not (flux_clip and asked)):
        return texts
    emit("phase", phase="caching")
    for prompt in task.prompts:
        captions += [prompt.prompt, prompt.negative_prompt]
    texts.remember(captions, getattr(args, "text_encoder_batch_size", None) or 1)
    texts.encoders = encoders[:1] if flux_clip else ()
    return texts


def _captions(task: Task, most: int | None) -> list[str] | None:
    """Every caption of the run, which the seed decides; None where they vary too much."""
    datasets, seed = task.datasets, task.seed
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    if any(subset.varies for subset in subsets):
        return None
    changing = any(subset.varies_by_epoch for subset in subsets)
    found: dict[str, None] = {}
    for epoch in (*range(1, (task.epochs if changing else 1) + 1), 0):  # 0: what is held out
        batches = epoch_batches(datasets, seed, epoch) if epoch else validation_batches(datasets)
        for batch in batches:
            for draw in batch:
                found[draw.caption(seed, step=0, total_steps=task.args.max_train_steps)] = None
        if most is not None and len(found) > most:
            return None
    return list(found)
