"""The LoRA of a run: which adapters it has, what they start from, and what drops out of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lorakit.embedded.models import Base
from lorakit.embedded.network import targets
from lorakit.embedded.network.lora import Dropout, Network, Shape
from lorakit.embedded.training.world import World


def build(
    args: argparse.Namespace,
    world: World,
    base: Base,
    *,
    denoiser: nn.Module,
    encoders: Sequence[nn.Module],
    seed: int,
) -> Network:
    """`encoders`: those that learn."""
    shapes = _shapes(args, base, denoiser, encoders)
    weights: dict[str, torch.Tensor] = {}
    file = Path(args.network_weights or "")
    if args.network_weights:
        from safetensors.torch import load_file

        weights = load_file(file)
        if args.dim_from_weights:
            shapes = targets.from_weights(shapes, weights, file)
    extra = targets.network_args(args)
    dropout = Dropout(
        float(args.network_dropout or 0),
        float(extra.get("rank_dropout", 0)),
        float(extra.get("module_dropout", 0)),
    )
    network = Network(
        shapes,
        dropout,
        seed=seed,
        device=world.device,
        dtype=torch.bfloat16 if args.full_bf16 else torch.float32,
        compute=world.weight_dtype,
        plus=frozenset(
            group for group in {shape.group for shape in shapes} if targets.plus_ratio(extra, group)
        ),
    )
    if weights:
        targets.refuse_other_ranks(shapes, weights, file)
        missing, unknown = (len(keys) for keys in network.load(weights))
        world.say(f"load network weights from {file}: {missing} missing, {unknown} unknown")
    return network


def _shapes(
    args: argparse.Namespace, base: Base, denoiser: nn.Module, encoders: Sequence[nn.Module]
) -> list[Shape]:
    flux = base.family == "flux"
    if flux:
        encoders = encoders[:1]
    several = len(base.text) > 1
    prefixes = [f"lora_te{number + 1}" if several else "lora_te" for number in range(len(encoders))]
    groups = ["textencoder 1 " if flux else "textencoder"] * len(encoders)
    shapes = targets.text_shapes(encoders, args, prefixes, groups)
    if args.network_train_text_encoder_only:
        return shapes
    if flux:
        return shapes + targets.flux_shapes(denoiser, args)
    return shapes + targets.unet_shapes(denoiser, args, ldm_names=base.family == "sdxl")
