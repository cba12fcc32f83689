"""Several processes of one thread each that share every training step: on few cores, faster than
threads, and far faster on busy ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable

import torch
import torch.distributed
import torch.multiprocessing


def together(
    train: Callable[[int, argparse.Namespace, str], None], args: argparse.Namespace
) -> None:
    """Run `train(worker, args, meeting)` in args.workers processes."""
    torch.set_num_threads(1)
    if args.workers == 1:
        train(0, args, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (args, f"{folder}/meeting"), nprocs=args.workers)


def join(worker: int, workers: int, meeting: str) -> None:
    torch.set_num_threads(1)
    if workers > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=worker, world_size=workers
        )


def shared(weights: list[torch.nn.Parameter], workers: int) -> None:
    """Every worker gets the mean of all workers' gradients, in one message."""
    if workers == 1:
        return
    flat = torch.cat([weight.grad.flatten() for weight in weights])
    torch.distributed.all_reduce(flat)
    for weight, grad in zip(
        weights, (flat / workers).split([weight.numel() for weight in weights]), strict=True
    ):
        weight.grad = grad.view_as(weight)
