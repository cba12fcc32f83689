"""One optimiser step: the losses and gradients of its batches; then average, clip, update. Nothing
in it waits for the device: what came out is read a step later.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from lorakit.embedded.data.batches import Batch
from lorakit.embedded.models import fused
from lorakit.embedded.training import memory, recorded
from lorakit.embedded.training.objective import Inputs
from lorakit.embedded.training.optimizers import LEAST_SCALE
from lorakit.embedded.training.session import Session
from lorakit.embedded.training.world import seed_of

Pixels = Iterator[Future[Any] | None]  # read ahead, or None: the objective reads them itself


class NotFiniteError(Exception):
    def __init__(self, what: str, step: int, batches: Sequence[Batch]) -> None:
        super().__init__(what)
        self.what, self.step = what, step
        names = (str(draw.image.path) for batch in batches for draw in batch)
        self.files = list(dict.fromkeys(names))


@dataclass(frozen=True)
class Taken:
    """A step that is under way, or done; its numbers may still be on the device."""

    step: int
    epoch: int
    first: int  # the place of its first batch in the epoch
    batches: Sequence[Batch]
    rates: dict[str, float]
    adapted: dict[str, float]
    numbers: torch.Tensor  # on the host: losses, then the six of Stepper
    arrived: Any = None  # a CUDA event

    def read(self) -> tuple[list[float], tuple[int, float, float]]:
        """Losses, one per batch, and the three of scale_weight_norms; raises what they say."""
        if self.arrived is not None:
            self.arrived.synchronize()
        numbers = self.numbers.tolist()
        losses, (loss_wrong, wrong, scale, *norms) = numbers[:-6], numbers[-6:]
        losses = losses[: len(self.batches)]
        for batch, loss in zip(self.batches, losses, strict=True):
            if not math.isfinite(loss):
                raise NotFiniteError("the loss", self.step, [batch])
        if loss_wrong:
            raise NotFiniteError("another process's loss", self.step, self.batches)
        if wrong and scale < LEAST_SCALE:
            raise NotFiniteError("a gradient", self.step, self.batches)
        return losses, (int(norms[0]), norms[1], norms[2])


class Stepper:
    """`take` is called once a step; `learn` and `update` are all that the device does in it."""

    def __init__(self, session: Session) -> None:
        self.s = session
        self.device = session.world.device
        count = session.args.gradient_accumulation_steps
        self.loss = torch.zeros((), device=self.device)
        self.losses = torch.zeros(count, device=self.device)
        self.numbers = torch.zeros(count + 6, device=self.device)
        self.stopped = torch.zeros((), device=self.device)  # 1 once a number was not finite
        self.unscaled = torch.zeros((), device=self.device)
        self.acts = recorded.acts_of(session)
        self.ladder = memory.RecomputeLadder(session)
        self.compiled = fused.compiled() if session.args.torch_compile else {}
        self.suspected = ""  # why a compiled step failed; said once the same step goes without

    def take(self, batches: Sequence[Batch], pixels: Pixels) -> Taken:
        """The position moves on."""
        s, at = self.s, self.s.position
        first, micro = at.batch, at.micro_step
        ready = [next(pixels) for _ in batches]
        if s.average is not None:
            s.average.set_step(at.step + 1)
        self.acts.waiting = self.ladder.measuring
        with self.acts.in_order():
            while not self._fits(batches, ready):
                pass
            self.acts.do("update", self.update)
            numbers, arrived = self._sent()
        if self.ladder.after_step():
            self.acts.forget()
        at.step, at.batch, at.micro_step = at.step + 1, first + len(batches), micro + len(batches)
        s.optimizer.set_step(at.step)
        rates, adapted = s.optimizer.learning_rates(), s.optimizer.adapted_rates()
        return Taken(at.step, at.epoch, first, batches, rates, adapted, numbers, arrived)

    def _fits(self, batches: Sequence[Batch], ready: Sequence[Future[Any] | None]) -> bool:
        """Whether the memory was enough. Where not, nothing has changed but how much is kept."""
        s, at = self.s, self.s.position
        try:
            s.network.zero_grad()
            for place, (batch, waiting) in enumerate(zip(batches, ready, strict=True)):
                seed = seed_of(s.seed, "step", at.micro_step + place, s.world.rank)
                read = None if waiting is None else waiting.result()
                inputs = s.objective.draw(batch, seed, step=at.step, pixels=read)
                self.acts.do("learn", self.learn, inputs)
                self.losses[place].copy_(self.loss)
        except torch.cuda.OutOfMemoryError as error:
            kept = error
        except Exception as error:
            if not self.compiled:
                raise
            inner = getattr(error, "inner_exception", error)  # what the compiler's own is about
            words = f"{type(inner).__name__}: {str(inner).strip()}".splitlines()[0]
            self.suspected, self.compiled = words, {}
            return False
        else:
            if self.suspected:
                note = f"torch_compile failed, steps go on without it; {self.suspected}"
                s.world.say(f"\nnote: {note}")
                self.suspected = ""
            return True
        self.acts.forget()
        self.ladder.down(kept.with_traceback(None))  # the traceback would hold the memory
        return False

    def learn(self, inputs: Inputs) -> None:
        s, scale = self.s, self.s.loss_scale
        with fused.standing_in(self.compiled):
            loss = s.objective.loss_of(inputs)
            self.loss.copy_(loss.detach())
            # an epoch's last step may have fewer batches: the divisor stays, as by accelerate
            loss = loss / s.args.gradient_accumulation_steps
            (loss if scale is None else loss * scale.scale).backward()
        s.network.gather()

    @torch.no_grad()
    def update(self) -> None:
        """A gradient that is not finite never reaches the weights, nor does anything after it."""
        s, limit = self.s, self.s.args.max_grad_norm
        gradients = s.network.gradients()
        s.world.average(gradients)
        if s.loss_scale is not None:
            for gradient in gradients:
                gradient.div_(s.loss_scale.scale)
        norm = torch.stack([gradient.float().norm() for gradient in gradients]).norm()
        wrong = torch.stack([self.losses.sum(), norm]).isfinite().logical_not().float()
        s.world.most(wrong)
        skip = wrong.amax()
        if s.loss_scale is None:
            skip = self.stopped.copy_(torch.maximum(self.stopped, skip))
        else:
            s.loss_scale.after(skip)
        if limit:
            factor = (limit / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factor)
        s.optimizer.update(skip)
        bound = s.args.scale_weight_norms
        norms = s.network.limit_norms(bound) if bound else wrong.new_zeros(3)
        s.network.refresh()
        if s.average is not None:
            s.average.update()
        scale = self.unscaled if s.loss_scale is None else s.loss_scale.scale
        self.numbers.copy_(torch.cat([self.losses, wrong, scale[None], norms]))

    def _sent(self) -> tuple[torch.Tensor, Any]:
        """The numbers on their way to the host, and what says that they are there."""
        if self.device.type != "cuda":
            return self.numbers.to("cpu", copy=True), None
        host = torch.empty_like(self.numbers, device="cpu", pin_memory=True)
        host.copy_(self.numbers, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return host, arrived
