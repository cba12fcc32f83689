"""What one training step asks of a device, counted and not timed: operations, casts of weights, and
reads that make the host wait.

    python tools/count_ops.py [sd15 sdxl flux] [--checkpointing] [--top 12]

The trainer's own loop trains a base with the real model's number of blocks at toy width, in bf16 on
the CPU: how many operations a step has does not depend on the width. Views and empty memory launch
nothing and are left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "embedded"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tiny_bases import make_tiny
from torch.utils._python_dispatch import TorchDispatchMode
from toy_runs import arguments, draw_pictures

from lorakit.embedded.arguments import read
from lorakit.embedded.training import loop, step, world
from lorakit.embedded.training.session import prepare
from lorakit.trainers.embedded import SCRIPTS

NOTHING = (
    *("aten::empty", "aten::empty_strided", "aten::empty_like", "aten::new_empty"),
    *("aten::new_empty_strided", "aten::_unsafe_view", "aten::detach", "aten::alias"),
    *("aten::lift_fresh", "aten::_reshape_alias", "aten::sym_size", "aten::set_"),
)
READS = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal")
STEADY = 3  # the step that is counted: the first ones make what lasts


@dataclass
class Counts:
    operations: Counter[str] = field(default_factory=Counter)
    weight_casts: int = 0
    host_reads: int = 0

    @property
    def total(self) -> int:
        return sum(self.operations.values())


class Counting(TorchDispatchMode):
    """Every call of the dispatcher while it is active. `weights`: their memory, by address."""

    def __init__(self, weights: Iterator[torch.Tensor]) -> None:
        super().__init__()
        self.counts = Counts()
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        if name in READS:
            self.counts.host_reads += 1
        elif not func.is_view and name not in NOTHING:
            self.counts.operations[name] += 1
            if name == "aten::_to_copy":
                self.counts.weight_casts += self._is_weight(args[0])
        return out

    def _is_weight(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._weights


def count(family: str, base: Path, folder: Path, **options: Any) -> Counts:
    """Of one steady step of a training of three."""
    draw_pictures(folder / "data" / "4_zwx", 1, wide=False)
    given = {"max_train_steps": STEADY, "max_train_epochs": None, "mixed_precision": "bf16"}
    words = arguments(base, folder / "data", folder / "out", family, {**given, **options})
    place = world.enter(read(SCRIPTS[family].name, words))
    session = prepare(read(SCRIPTS[family].name, words), place, family)
    found = Counts()
    own = step.Steps.take

    def take(*inputs: Any) -> Any:
        nonlocal found
        if session.position.step < STEADY - 1:
            return own(*inputs)
        frozen = (session.objective.denoiser, *session.texts.encoders)
        weights = [tensor for module in frozen for tensor in module.parameters()]
        with Counting(iter([*weights, *session.network.flat.values()])) as counting:
            taken = own(*inputs)
        found = counting.counts
        return taken

    step.Steps.take = take  # type: ignore[method-assign,assignment]
    try:
        code = loop.Loop(session).run()
    finally:
        step.Steps.take = own  # type: ignore[method-assign]
    assert code == 0, code
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", nargs="*", default=["sd15", "sdxl", "flux"])
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--top", type=int, default=0, help="the most frequent operations, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    rows = []
    for family in given.family:
        with tempfile.TemporaryDirectory(prefix="count-") as spare:
            base = make_tiny(family, Path(spare) / "base", deep=True)
            more = {"gradient_checkpointing": given.checkpointing}
            rows.append((family, count(family, base, Path(spare), **more)))
    print(f"\n{'':8}{'operations':>12}{'weight casts':>14}{'host reads':>12}")
    for family, found in rows:
        print(f"{family:8}{found.total:12}{found.weight_casts:14}{found.host_reads:12}")
        for name, times in found.operations.most_common(given.top):
            print(f"    {times:6} {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
