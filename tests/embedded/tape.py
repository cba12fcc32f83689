"""A card's recorder, played by the CPU: an act's operations are written down in order, with the
tensors they work on; replaying repeats them, and nothing else. What a card could not record is
refused: a number read on the host, data that comes from the host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lorakit.embedded.training.recorded import Recorder

REFUSED = {
    "aten::_local_scalar_dense": "a number is read on the host",
    "aten::is_nonzero": "the host decides by a number",
    "aten::lift_fresh": "data comes from the host",
}


class Tape(Recorder):
    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    @contextlib.contextmanager
    def in_order(self) -> Iterator[None]:
        yield

    def record(self, act: Callable[[], None]) -> Callable[[], None]:
        chance = torch.get_rng_state()
        writing = Writing()
        try:
            with writing:
                act()
        finally:
            writing.undo()
            torch.set_rng_state(chance)
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            writing.repeat()

        return replay


class Writing(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Any, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.name().split(".")[0], kwargs or {}
        if name in REFUSED:
            raise RuntimeError(f"{REFUSED[name]} ({name})")
        self._keep(func, args, kwargs)
        out = func(*args, **kwargs)
        given = {_place(one) for one in _tensors((args, kwargs))}
        self._made |= {_place(one) for one in _tensors(out)} - given
        self.calls.append((func, args, kwargs, out))
        return out

    def _keep(self, func: Any, args: Any, kwargs: Any) -> None:
        """What lies in memory that this act did not make, before it is written over."""
        names = [argument.name for argument in func._schema.arguments]
        for argument, name in zip(func._schema.arguments, names, strict=True):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            place = names.index(name)
            value = args[place] if place < len(args) else kwargs.get(name)
            for one in _tensors(value):
                if _place(one) not in self._made and _place(one) not in self._before:
                    storage = one.untyped_storage()
                    self._before[_place(one)] = (storage, storage.clone())

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)

    @torch.no_grad()
    def repeat(self) -> None:
        now: dict[int, torch.Tensor] = {}

        def of(value: Any) -> Any:
            return now.get(id(value), value) if isinstance(value, torch.Tensor) else value

        for func, args, kwargs, out in self.calls:
            new = func(*tree_map(of, args), **tree_map(of, kwargs))
            for old, fresh in zip(_tensors(out), _tensors(new), strict=True):
                now[id(old)] = fresh


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())
