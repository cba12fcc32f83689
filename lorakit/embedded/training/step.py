"""One optimiser step: the losses and gradients of its batches; then average, clip, update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch

from lorakit.embedded.data.batches import Batch
from lorakit.embedded.training.session import Session

Pixels = Iterator[Future[Any] | None]  # read ahead, or None: the objective reads them itself


class NotFiniteError(Exception):
    def __init__(self, what: str, batches: Sequence[Batch]) -> None:
        super().__init__(what)
        self.what = what
        names = (str(draw.image.path) for batch in batches for draw in batch)
        self.files = list(dict.fromkeys(names))


class Taken(NamedTuple):
    losses: list[float]  # one per batch
    norms: tuple[int, float, float] | None  # of scale_weight_norms: scaled, mean, largest


def take(session: Session, batches: Sequence[Batch], pixels: Pixels) -> Taken:
    """The position moves on."""
    session.network.zero_grad()
    losses = [_learn(session, batch, next(pixels)) for batch in batches]
    _update(session, batches)
    limit = session.args.scale_weight_norms
    norms = None
    if limit:
        scaled, mean, largest = session.network.limit_norms(limit).tolist()
        norms = int(scaled), mean, largest
    session.network.refresh()
    session.position.step += 1
    if session.average is not None:
        session.average.update(session.position.step)
    return Taken(losses, norms)


def _learn(session: Session, batch: Batch, pixels: Future[Any] | None) -> float:
    at, objective, scale = session.position, session.objective, session.loss_scale
    session.network.train(on=True)
    seed = objective.step_seed(at.micro_step)
    ready = None if pixels is None else pixels.result()
    loss = objective.loss(batch, seed, step=at.step, pixels=ready)
    value = float(loss.detach())
    if session.world.highest(int(not math.isfinite(value))):
        raise NotFiniteError("the loss", [batch])
    # an epoch's last step may have fewer batches: the divisor stays, as by accelerate
    loss = loss / session.args.gradient_accumulation_steps
    (loss * (1.0 if scale is None else scale.scale)).backward()
    session.network.gather()
    at.batch += 1
    at.micro_step += 1
    return value


def _update(session: Session, batches: Sequence[Batch]) -> None:
    """A gradient that is not finite never reaches the weights."""
    at, scale, limit = session.position, session.loss_scale, session.args.max_grad_norm
    gradients = session.network.gradients()
    session.world.average(gradients)
    if scale is not None:
        for gradient in gradients:
            gradient.div_(scale.scale)
    norm = float(torch.stack([gradient.float().norm() for gradient in gradients]).norm())
    finite = math.isfinite(norm)
    if scale is not None:
        scale.after(finite=finite)
    if finite:
        if limit and norm > limit:
            for gradient in gradients:
                gradient.mul_(limit / (norm + 1e-6))
        session.optimizer.step(at.step + 1)
    elif scale is None or scale.is_hopeless:
        raise NotFiniteError("a gradient", batches)
