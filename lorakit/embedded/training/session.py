"""Everything a training needs, brought together in the order that needs the least memory: data,
latents, texts, then the denoiser.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorakit.embedded.data.batches import epoch_batches, share, validation_batches
from lorakit.embedded.data.cache import Latents, Told
from lorakit.embedded.data.dataset import Dataset, read_datasets
from lorakit.embedded.drawing.sample_prompts import Prompt, read_prompts
from lorakit.embedded.events import tell
from lorakit.embedded.models import Base, open_base
from lorakit.embedded.network import checkpoints, metadata, targets
from lorakit.embedded.network.ema import Average
from lorakit.embedded.network.lora import Dropout, Network, Shape
from lorakit.embedded.training import state
from lorakit.embedded.training.early_stop import Watch
from lorakit.embedded.training.loss_scale import LossScale
from lorakit.embedded.training.objective import Objective, Texts
from lorakit.embedded.training.optimizers import Optimizer
from lorakit.embedded.training.report import announce
from lorakit.embedded.training.world import World
from lorakit.errors import RecipeError
from lorakit.weights.safetensors import read_header

MOST_CAPTIONS = 4096  # told in memory when nobody asked for a cache; more are encoded as they come


@dataclass
class Session:
    args: argparse.Namespace
    world: World
    seed: int
    base: Base
    datasets: tuple[Dataset, ...]
    latents: Latents
    texts: Texts
    denoiser: nn.Module
    network: Network
    optimizer: Optimizer
    average: Average | None
    objective: Objective
    prompts: tuple[Prompt, ...]
    batches_per_epoch: int  # of this process
    epochs: int
    position: state.Position
    identity: dict[str, Any]
    known: dict[str, str]  # the metadata that is known at the start
    hashes: metadata.Hashes
    loss_scale: LossScale | None = None  # fp16


def prepare(args: argparse.Namespace, world: World, family: str) -> Session:
    started = time.time()
    if world.first_here:
        checkpoints.tidy(Path(args.output_dir), args.output_name)
    world.wait()
    resumed = state.read_identity(Path(args.resume)) if args.resume else {}
    seed = args.seed if args.seed is not None else resumed.get("seed", _common_seed(world))
    if args.network_weights:
        read_header(Path(args.network_weights))  # refuses what is not one
    datasets = read_datasets(args, seed)
    base = open_base(args, family)
    hashes = metadata.Hashes({"sd_model": args.pretrained_model_name_or_path, "vae": args.vae})
    if world.is_main and not args.no_metadata:
        hashes.start()
    for note in base.notes:
        world.say(f"note: {note}")
    _allow_bucket_steps(datasets, base)
    batches = len(share(epoch_batches(datasets, seed, 1), world.rank, world.size))
    epochs = _settle_length(args, world, batches)
    prompts = tuple(read_prompts(Path(args.sample_prompts))) if args.sample_prompts else ()

    latents = _latents(args, world, base, datasets)
    texts = _texts(args, world, base, datasets, seed=seed, epochs=epochs, prompts=prompts)
    tell("phase", phase="loading")
    denoiser = _denoiser(args, world, base)
    if args.gradient_checkpointing:
        for network_ in (denoiser, *(texts.encoders if texts.trained else ())):
            network_.enable_gradient_checkpointing()
    world.say(f"import network module: {args.network_module}")
    network = _network(args, world, base, denoiser=denoiser, texts=texts, seed=seed)
    world.say("prepare optimizer, data loader etc.")
    optimizer = Optimizer(args, network, args.max_train_steps, world.size)
    average = Average(network, args.ema_decay) if args.ema_decay else None
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
    identity = {
        "seed": seed,
        "processes": world.size,
        "batches_per_epoch": batches,
        "dataset": (
            resumed.get("dataset")
            if resumed and os.environ.get("LORAKIT_ANYWAY")
            else _digest(datasets)
        ),
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "optimizer": optimizer.name,
        "adapters": len(network.adapters),
        "weights": sum(flat.numel() for flat in network.flat.values()),
        "ema": bool(average),
        "session_id": resumed.get("session_id", random.SystemRandom().randrange(2**32)),
    }
    loss_scale = LossScale() if world.precision == "fp16" else None
    position = state.Position(
        watch=Watch(args.early_stop_patience, args.early_stop_min_delta or 0.0)
    )
    if args.resume:
        position = state.load(
            Path(args.resume),
            network=network,
            optimizer=optimizer,
            average=average,
            identity=identity,
            loss_scale=loss_scale,
        )
        _require_place(args, world, position.step)
    announce(args, world, datasets, batches=batches, epochs=epochs)
    lr = args.text_encoder_lr
    known = metadata.training(
        args,
        base,
        datasets,
        session_id=identity["session_id"],
        started=started,
        seed=seed,
        batches=batches,
        epochs=epochs,
        optimizer=optimizer.name + (f"({optimizer.arguments})" if optimizer.arguments else ""),
        text_encoder_lr=lr if family == "flux" else lr[0] if lr else None,
    )
    return Session(
        args,
        world,
        seed,
        base,
        datasets,
        latents,
        texts,
        denoiser,
        network,
        optimizer,
        average,
        objective,
        prompts,
        batches,
        epochs,
        position,
        identity,
        known,
        hashes,
        loss_scale,
    )


def _settle_length(args: argparse.Namespace, world: World, batches: int) -> int:
    """Steps from epochs and epochs from steps, whichever was asked for; the number of epochs."""
    steps_per_epoch = math.ceil(batches / args.gradient_accumulation_steps)
    if args.max_train_epochs is not None:
        args.max_train_steps = args.max_train_epochs * steps_per_epoch
        world.say(
            f"override steps. steps for {args.max_train_epochs} epochs is: {args.max_train_steps}"
        )
    epochs = math.ceil(args.max_train_steps / steps_per_epoch)
    if args.save_n_epoch_ratio:
        args.save_every_n_epochs = epochs // args.save_n_epoch_ratio or 1
    return epochs


def _require_place(args: argparse.Namespace, world: World, step: int) -> None:
    """The state's step must be every machine's, and one from which something is left to do."""
    if not world.agree(step):
        raise RecipeError(
            f"{args.resume}: this state has {step} steps; another machine has one with fewer or"
            " more.",
            hint=(
                "Move a newer state than the oldest of these out of its output folder, and resume"
                " on every machine."
            ),
        )
    if (
        step > args.max_train_steps
    ):  # equal: killed between the last state and the last file, which is then written
        raise RecipeError(
            f"{args.resume}: this state has {step} steps already; max_train_steps is"
            f" {args.max_train_steps}."
        )


def _digest(datasets: Sequence[Dataset]) -> str:
    """Which pictures under which captions, how often and how large; where their folder lies does
    not matter.
    """
    said = [
        (
            one.batch_size,
            one.rules.resolution,
            [
                (image.path.name, image.size, image.bucket, image.caption, image.repeats)
                for image in (*one.images, *one.validation)
            ],
        )
        for one in datasets
    ]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _common_seed(world: World) -> int:
    """No seed was given: one is drawn, the same for all processes, and recorded."""
    return world.highest(random.SystemRandom().randrange(2**31))


def _allow_bucket_steps(datasets: Sequence[Dataset], base: Base) -> None:
    """Latents must come in whole numbers, and FLUX packs them in pairs."""
    unit = base.latent_step * (2 if base.family == "flux" else 1)
    for dataset in datasets:
        for width, height in dataset.buckets:
            if width % unit or height % unit:
                raise RecipeError(
                    f"resolution {width}x{height}: both sides must be multiples of {unit} for this"
                    " model."
                )


def _latents(
    args: argparse.Namespace, world: World, base: Base, datasets: Sequence[Dataset]
) -> Latents:
    cached = bool(args.cache_latents or args.cache_latents_to_disk)
    latents = Latents(
        base,
        world,
        no_half_vae=args.no_half_vae,
        cached=cached,
        on_disk=args.cache_latents_to_disk,
        batch_size=args.vae_batch_size or 1,
    )
    if cached:
        tell("phase", phase="caching")
        images = [image for dataset in datasets for image in (*dataset.images, *dataset.validation)]
        if args.cache_latents_to_disk and world.size > 1:
            latents.prepare(
                images[world.rank :: world.size], lambda _done, _all: None
            )  # a share each, then all find all
            world.wait()
        latents.prepare(images, lambda done, count: tell("cached", done=done, of=count))
        latents.close()
    return latents


def _texts(
    args: argparse.Namespace,
    world: World,
    base: Base,
    datasets: Sequence[Dataset],
    *,
    seed: int,
    epochs: int,
    prompts: Sequence[Prompt],
) -> Texts:
    """Encoders that do not learn are asked once for every caption of the whole run, then dropped."""
    told = Told(
        base,
        world,
        on_disk=bool(args.cache_text_encoder_outputs_to_disk),
        batch_size=getattr(args, "text_encoder_batch_size", None) or 1,
    )
    trained = not args.network_train_unet_only
    asked = args.cache_text_encoder_outputs or args.cache_text_encoder_outputs_to_disk
    captions = _captions(args, datasets, seed, epochs, most=None if asked else MOST_CAPTIONS)
    tokenizers = base.load_tokenizers()
    # On the CPU CLIP stays in float32, as kohya keeps it; T5 would take 19 GB.
    kind = (
        torch.float32
        if world.device.type == "cpu" and base.family != "flux"
        else world.weight_dtype
    )
    encoders = base.load_encoders(kind, world.device)
    flux_clip = base.family == "flux" and trained
    if captions is not None and (not trained or (flux_clip and asked)):
        tell("phase", phase="caching")
        told.prepare(
            [
                *captions,
                *(text for prompt in prompts for text in (prompt.prompt, prompt.negative_prompt)),
            ],
            tokenizers,
            encoders,
        )
        return Texts(
            base, world, told, tokenizers, encoders[:1] if flux_clip else (), trained=flux_clip
        )
    return Texts(base, world, told, tokenizers, encoders, trained=trained)


def _captions(
    args: argparse.Namespace,
    datasets: Sequence[Dataset],
    seed: int,
    epochs: int,
    *,
    most: int | None,
) -> list[str] | None:
    """Every caption that the run will see, known beforehand because chance is; None where they
    vary too much to be told beforehand.
    """
    if any(subset.captions.varies for dataset in datasets for subset in dataset.subsets):
        return None
    changing = any(
        s.captions.wildcard or s.captions.dropout_rate or s.captions.dropout_every_n_epochs
        for d in datasets
        for s in d.subsets
    )
    found: dict[str, None] = {}
    for epoch in range(1, (epochs if changing else 1) + 1):
        for batch in epoch_batches(datasets, seed, epoch):
            found.update(
                dict.fromkeys(
                    draw.caption(seed, step=0, total_steps=args.max_train_steps) for draw in batch
                )
            )
            if most is not None and len(found) > most:
                return None
    for batch in validation_batches(datasets):
        found.update(
            dict.fromkeys(
                draw.caption(seed, step=0, total_steps=args.max_train_steps) for draw in batch
            )
        )
    return list(found)


def _denoiser(args: argparse.Namespace, world: World, base: Base) -> nn.Module:
    if not (args.fp8_base or args.fp8_base_unet):
        return base.load_denoiser(world.weight_dtype, world.device)
    from lorakit.embedded.training.eight_bit import shrink

    wide = base.load_denoiser(world.weight_dtype, "cpu")  # the device never holds it
    return shrink(wide, world.weight_dtype).to(world.device)


def _network(
    args: argparse.Namespace,
    world: World,
    base: Base,
    *,
    denoiser: nn.Module,
    texts: Texts,
    seed: int,
) -> Network:
    shapes: list[Shape] = []
    if texts.trained:
        many = len(base.text) > 1
        encoders = texts.encoders[:1] if base.family == "flux" else texts.encoders
        prefixes = [f"lora_te{index + 1}" if many else "lora_te" for index in range(len(encoders))]
        group = "textencoder 1 " if base.family == "flux" else "textencoder"
        shapes += targets.text_shapes(encoders, args, prefixes, [group] * len(encoders))
    if not args.network_train_text_encoder_only:
        flux = base.family == "flux"
        shapes += (
            targets.flux_shapes(denoiser, args)
            if flux
            else targets.unet_shapes(denoiser, args, ldm_names=base.family == "sdxl")
        )
    weights: dict[str, torch.Tensor] = {}
    if args.network_weights:
        from safetensors.torch import load_file

        weights = load_file(args.network_weights)
        if args.dim_from_weights:
            shapes = targets.from_weights(shapes, weights, Path(args.network_weights))
    extra = targets.network_args(args)
    dropout = Dropout(
        float(args.network_dropout or 0),
        float(extra.get("rank_dropout", 0)),
        float(extra.get("module_dropout", 0)),
    )
    plus = frozenset(
        group
        for group in {shape.group for shape in shapes}
        if extra.get("loraplus_lr_ratio")
        or extra.get(f"loraplus_{'unet' if group == 'unet' else 'text_encoder'}_lr_ratio")
    )
    network = Network(
        shapes,
        dropout,
        seed=seed,
        device=world.device,
        dtype=torch.bfloat16 if args.full_bf16 else torch.float32,
        plus=plus,
    )
    if weights:
        targets.refuse_other_ranks(shapes, weights, Path(args.network_weights))
        missing, unknown = network.load(weights)
        world.say(
            f"load network weights from {args.network_weights}: {len(missing)} missing,"
            f" {len(unknown)} unknown"
        )
    return network
