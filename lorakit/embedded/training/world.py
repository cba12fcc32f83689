"""Where this process runs: device, precision, and its place among those of the launcher. Whom it
tells what happens, and where chance comes from.
"""

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class World:
    device: torch.device
    rank: int
    size: int
    precision: str  # no, fp16, bf16
    first_here: bool  # of the processes on this machine

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def weight_dtype(self) -> torch.dtype:
        """What the frozen networks are kept in."""
        return DTYPES[self.precision]

    def say(self, text: str) -> None:
        """Kohya's accelerator.print: standard output, once, at once."""
        if self.is_main:
            print(text, flush=True)

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """The mean over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)
                tensor.div_(self.size)

    def most(self, tensor: torch.Tensor) -> None:
        """The largest of all processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)

    def highest(self, value: int) -> int:
        """The largest of one small number per process: how they agree to stop."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        self.most(shared)
        return int(shared)

    def wait(self) -> None:
        if self.size > 1:
            torch.distributed.barrier()

    def close(self) -> None:
        if self.size > 1:
            torch.distributed.destroy_process_group()


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """To the device, without waiting for what it is doing."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def seed_of(*parts: object) -> int:
    """A 63-bit number that is the same on every machine, in every process, for the same words:
    every random number follows from the run's seed and a purpose, nothing to save or disturb.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def emit(event: str, **facts: Any) -> None:
    """A line of JSON for whoever follows the run, in the file that LORAKIT_EVENTS names. Only the
    first process of each machine writes. A full disk must not end a training.
    """
    path = os.environ.get("LORAKIT_EVENTS")
    if not path or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(line)


def best_device() -> str:
    mps = "mps" if torch.backends.mps.is_available() else "cpu"
    return "cuda" if torch.cuda.is_available() else mps


def enter(args: argparse.Namespace) -> World:
    """From what `accelerate launch` (or torchrun) put into the environment."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    device = torch.device("cpu" if on_cpu else best_device())
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size > 1:
        timeout = dt.timedelta(minutes=args.ddp_timeout) if args.ddp_timeout else None
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=timeout)
    return World(device, rank, size, args.mixed_precision or "no", first_here=local == 0)
