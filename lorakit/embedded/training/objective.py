"""The loss of one batch, for every family: what goes into the denoiser, what should come out, and
how far off it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lorakit.embedded.data.batches import Batch
from lorakit.embedded.data.cache import Latents, Told
from lorakit.embedded.data.images import size_ids
from lorakit.embedded.models import Base, Conditioning
from lorakit.embedded.training import flow, noise
from lorakit.embedded.training.randomness import seed_of
from lorakit.embedded.training.world import World


@dataclass
class Texts:
    """Captions to conditioning: from the cache, or through encoders that are there (and may be
    learning).
    """

    base: Base
    world: World
    told: Told
    tokenizers: Any = ()
    encoders: tuple[
        nn.Module, ...
    ] = ()  # empty once everything is cached; FLUX may keep its CLIP alone
    trained: bool = False

    def of(self, captions: Sequence[str], *, learning: bool = False) -> Conditioning:
        if not self.encoders:
            return self.told.of(captions)
        tokens = tuple(
            part.to(self.world.device) for part in self.base.tokenize(self.tokenizers, captions)
        )
        with torch.set_grad_enabled(learning and self.trained), self.world.autocast():
            if len(self.encoders) < len(self.base.text):  # T5's answers are cached, CLIP learns
                return replace(
                    self.told.of(captions), pooled=self.encoders[0](tokens[0].flatten(0, 1)).pooled
                )
            return self.base.encode(self.encoders, tokens)


class Objective:
    def __init__(
        self,
        args: argparse.Namespace,
        world: World,
        base: Base,
        *,
        denoiser: nn.Module,
        latents: Latents,
        texts: Texts,
        seed: int,
        total_steps: int,
    ) -> None:
        self.args, self.world, self.base, self.denoiser = args, world, base, denoiser
        self.latents, self.texts, self.seed, self.total_steps = latents, texts, seed, total_steps
        self.is_flow = base.prediction == "flow"
        self.schedule = (
            None
            if self.is_flow
            else noise.Schedule(zero_terminal_snr=bool(args.zero_terminal_snr), device=world.device)
        )
        self.low = args.min_timestep or 0
        self.high = noise.STEPS if args.max_timestep is None else args.max_timestep

    def loss(
        self,
        batch: Batch,
        step_seed: int,
        *,
        step: int,
        timestep: int | None = None,
        pixels: Sequence[torch.Tensor] | None = None,
        learning: bool = True,
    ) -> torch.Tensor:
        """The mean loss of a batch. Everything random follows from `step_seed`; a given timestep
        is used for every sample.
        """
        torch.manual_seed(step_seed)
        latents = self.latents.of(batch, self.seed, pixels)
        captions = [
            draw.caption(self.seed, step=step, total_steps=self.total_steps) for draw in batch
        ]
        told = self.texts.of(captions, learning=learning)
        weights = torch.tensor(
            [self.args.prior_loss_weight if draw.image.subset.is_reg else 1.0 for draw in batch]
        ).to(latents)
        with torch.set_grad_enabled(learning):
            if self.is_flow:
                losses = self._flow(latents, told, timestep)
            else:
                losses = self._noise(latents, told, batch, step_seed=step_seed, timestep=timestep)
            return self._weighted(losses, weights).mean()

    def _noise(
        self,
        latents: torch.Tensor,
        told: Conditioning,
        batch: Batch,
        *,
        step_seed: int,
        timestep: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-sample losses and their timesteps."""
        args, schedule = self.args, self.schedule
        assert schedule is not None
        white = noise.sample_noise(latents, args, step_seed)
        low, high = (self.low, self.high) if timestep is None else (timestep, timestep)
        t = noise.timesteps(len(batch), low, high).to(latents.device)
        noisy = schedule.noised(latents, noise.perturbed(white, args), t)
        ids = None
        if self.base.family == "sdxl":
            ids = torch.tensor(
                [size_ids(draw.image, flip=draw.flipped(self.seed)) for draw in batch]
            ).to(latents.device)
        predicted = self._predict(noisy, t, told, time_ids=ids)
        target = schedule.velocity(latents, white, t) if args.v_parameterization else white
        return self._mean_distance(predicted, target, t), t

    def _flow(
        self, latents: torch.Tensor, told: Conditioning, timestep: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        args = self.args
        white = noise.gaussian(latents)
        count, (height, width) = len(latents), latents.shape[-2:]
        share, t = (
            flow.sigmas(count, height, width, args)
            if timestep is None
            else flow.fixed_sigmas(count, timestep)
        )
        share, t = share.to(latents), t.to(latents)
        place = share.view(-1, 1, 1, 1)
        noisy = (1.0 - place) * latents + place * noise.perturbed(white, args)
        predicted = self._predict(noisy, t, told, guidance=float(args.guidance_scale))
        predicted, factor = flow.prediction(predicted.float(), noisy, share, args)
        return self._mean_distance(predicted, white - latents, t, factor), t

    def _weighted(
        self, losses: tuple[torch.Tensor, torch.Tensor], weights: torch.Tensor
    ) -> torch.Tensor:
        """Times the prior's weight and, for noise prediction, what min-SNR and its kin say."""
        found, t = losses
        return (
            found * weights
            if self.schedule is None
            else noise.weighted(found * weights, t, self.schedule, self.args)
        )

    def _predict(
        self, noisy: torch.Tensor, t: torch.Tensor, told: Conditioning, **more: Any
    ) -> torch.Tensor:
        kind = self.world.weight_dtype
        told = replace(
            told,
            **{
                name: part.to(kind)
                for name, part in vars(told).items()
                if part is not None and part.is_floating_point()
            },
        )
        with self.world.autocast():
            return self.base.predict(self.denoiser, noisy.to(kind), t, told, **more)

    def _mean_distance(
        self,
        predicted: torch.Tensor,
        target: torch.Tensor,
        t: torch.Tensor,
        factor: torch.Tensor | None = None,
    ) -> torch.Tensor:
        signal = self.schedule.signal if self.schedule is not None else None
        threshold = (
            noise.huber_threshold(t, self.args, signal)
            if self.args.loss_type in ("huber", "smooth_l1")
            else None
        )
        distance = noise.distance(predicted, target, self.args, threshold)
        if factor is not None:
            distance = distance * factor
        return distance.mean(dim=list(range(1, distance.dim())))

    def step_seed(self, micro_step: int) -> int:
        """`micro_step` counts the batches of this process since the start of the training."""
        return seed_of(self.seed, "step", micro_step, self.world.rank)
