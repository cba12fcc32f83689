"""The LoRA of a run: which adapters it has, what they start from, and what drops out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from lorakit.embedded.network import lycoris, targets
from lorakit.embedded.network.lora import Adapter, Dropout, Network
from lorakit.embedded.training.task import Task
from lorakit.errors import refused
from lorakit.trainers.embedded import options


def build(task: Task, denoiser: nn.Module, encoders: Sequence[nn.Module]) -> Network:
    """`encoders`: those that learn."""
    args, world = task.args, task.world
    shapes = targets.shapes(args, task.base.family, denoiser, encoders)
    weights: dict[str, torch.Tensor] = {}
    file = Path(args.network_weights or "")
    if args.network_weights:
        from safetensors.torch import load_file

        weights = load_file(file)
        if args.dim_from_weights:
            shapes = targets.from_weights(shapes, weights, file)
    extra, foreign = targets.network_args(args), args.network_module == options.LYCORIS
    dropout = Dropout(
        float(args.network_dropout or 0),
        float(extra.get("rank_dropout", 0)),
        float(extra.get("module_dropout", 0)),
    )
    network = Network(
        shapes,
        dropout,
        seed=task.seed,
        device=world.device,
        dtype=world.weight_dtype if args.full_bf16 else torch.float32,
        compute=world.weight_dtype,
        make=lycoris.maker(args) if foreign else Adapter,
        plus=frozenset(
            group for group in {shape.group for shape in shapes} if targets.plus_ratio(extra, group)
        ),
    )
    if weights:
        if foreign:
            _refuse_other_factors(network, weights, file)
        else:
            targets.refuse_other_ranks(shapes, weights, file)
        missing, unknown = (len(keys) for keys in network.load(weights))
        world.say(f"load network weights from {file}: {missing} missing, {unknown} unknown")
    return network


def _refuse_other_factors(
    network: Network, weights: Mapping[str, torch.Tensor], file: Path
) -> None:
    alphas = {f"{one.name}.alpha": torch.tensor(float(one.alpha)) for one in network.adapters}
    for key, ours in {**network.named(), **alphas}.items():
        its = weights.get(key)
        if its is not None and (its.numel() != ours.numel() or (key in alphas and its != ours)):
            said = [tuple(one.shape) or f"{float(one):g}" for one in (its, ours)]
            raise refused(str(file), f"{key} is {said[0]} there, and {said[1]} by the recipe.")
