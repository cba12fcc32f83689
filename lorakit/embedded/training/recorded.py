"""A step's acts, recorded once for every shape of batch as a CUDA graph and then replayed in one
launch: on a card that waits for the host, that is most of the time.

An act works on tensors that stay where they are. Where something of this run cannot be recorded,
its name is said and every operation is launched by itself, as before.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch

from lorakit.embedded.training.objective import Inputs
from lorakit.embedded.training.session import Session

WARM = 2  # a shape's first batches, launched by themselves: they make what lasts
MOST = 12  # recordings kept; the least used one goes

Recording = tuple[list[Inputs], Callable[[], None]]  # and what replays it


class Recorder:
    """A card's driver. All recordings share one pool of memory: they are replayed one at a time."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def in_order(self) -> Iterator[None]:
        """Warm-up and recording on one stream, after what others have begun."""
        others = torch.cuda.current_stream()
        self.stream.wait_stream(others)
        with torch.cuda.stream(self.stream):
            yield
        others.wait_stream(self.stream)

    def record(self, act: Callable[[], None]) -> Callable[[], None]:
        """What replays it. Nothing of the act has happened yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            act()
        replay: Callable[[], None] = graph.replay
        return replay


class Acts:
    """Acts under names. Without a recorder each is simply done."""

    def __init__(self, recorder: Recorder | None, say: Callable[[str], None]) -> None:
        self.recorder, self.say = recorder, say
        self.kept: OrderedDict[tuple[Any, ...], Recording] = OrderedDict()
        self.seen: dict[tuple[Any, ...], int] = {}
        self.waiting = False  # something is still being measured: nothing is recorded yet

    def in_order(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self.recorder is None else self.recorder.in_order()

    def do(self, name: str, act: Callable[..., None], *inputs: Inputs) -> None:
        key = (name, *(one.shape for one in inputs))
        times = self.seen[key] = self.seen.get(key, 0) + 1
        ready = times > WARM and not self.waiting
        if self.recorder is not None and ready and key not in self.kept:
            self._record(self.recorder, key, act, inputs)
        if key not in self.kept:
            act(*inputs)
            return
        self.kept.move_to_end(key)
        held, replay = self.kept[key]
        for own, new in zip(held, inputs, strict=True):
            own.overwrite(new)
        replay()

    def _record(
        self, recorder: Recorder, key: tuple[Any, ...], act: Callable[..., None], inputs: Any
    ) -> None:
        if len(self.kept) >= MOST:
            self.kept.popitem(last=False)
        held = [deepcopy(one) for one in inputs]
        for one in inputs:
            self.say(f"\nrecording the step for {one.words}")
        try:
            self.kept[key] = held, recorder.record(lambda: act(*held))
        except (RuntimeError, NotImplementedError) as error:
            self.give_up(f"recording failed: {str(error).splitlines()[0]}")

    def give_up(self, reason: str) -> None:
        """From now on every operation is launched by itself."""
        self.recorder = None
        self.forget()
        self.say(f"\nnote: steps are not recorded as CUDA graphs, which is slower; {reason}")

    def forget(self) -> None:
        """What was recorded holds no longer: the step has changed, or its memory is wanted."""
        self.kept.clear()
        self.seen.clear()


def acts_of(session: Session, recorder: Recorder | None = None) -> Acts:
    """With `recorder`, as if there were a card."""
    say, device = session.world.say, session.world.device
    if recorder is None and device.type != "cuda":
        return Acts(None, say)
    acts = Acts(recorder or Recorder(device), say)
    reason = why_not(session)
    if reason:
        acts.give_up(reason)
    elif session.optimizer.on_device is not None:
        session.optimizer.on_device.keep_rates_on(device)
    return acts


def why_not(session: Session) -> str:
    """What of this run cannot be recorded, by its name; empty where all can."""
    args = session.args
    if args.no_cuda_graphs:
        return "no_cuda_graphs is set"
    if getattr(args, "blocks_to_swap", None):
        return "blocks_to_swap decides on the host what is copied next"
    if session.world.size > 1:
        return "several processes train together"
    if session.optimizer.on_device is None:
        return f"{session.optimizer.name} decides on the host"
    if session.network.draws and args.gradient_checkpointing:
        return "dropout is drawn twice with gradient_checkpointing"
    return ""
