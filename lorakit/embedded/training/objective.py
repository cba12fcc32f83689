"""The loss of one batch, for every family: what goes into the denoiser, what should come out, and
how far off it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lorakit.embedded.data.batches import Batch
from lorakit.embedded.data.cache import Latents
from lorakit.embedded.data.images import size_ids
from lorakit.embedded.models import Base, Conditioning
from lorakit.embedded.training import flow, noise
from lorakit.embedded.training.randomness import seed_of
from lorakit.embedded.training.texts import Texts
from lorakit.embedded.training.world import World


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
        self.mask: torch.Tensor | None = None  # of the batch: how much each place counts
        self.schedule: noise.Schedule | None = None  # FLUX has none
        if base.prediction != "flow":
            terminal = bool(args.zero_terminal_snr)
            self.schedule = noise.Schedule(zero_terminal_snr=terminal, device=world.device)
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
            one.caption(self.seed, step=step, total_steps=self.total_steps) for one in batch
        ]
        texts = self.texts.of(captions, learning=learning)
        prior = self.args.prior_loss_weight
        weights = torch.tensor([prior if one.image.subset.is_reg else 1.0 for one in batch])
        masks = self.latents.masks.of(batch, self.seed, latents.shape[2:])
        self.mask = None if masks is None else masks.to(latents)
        with torch.set_grad_enabled(learning):
            if self.schedule is None:
                losses = self._flow(latents, texts, timestep)
            else:
                losses = self._noise(latents, texts, batch, step_seed=step_seed, timestep=timestep)
            return self._weighted(losses, weights.to(latents)).mean()

    def _noise(
        self,
        latents: torch.Tensor,
        texts: Conditioning,
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
            sizes = [size_ids(one.image, flip=one.flipped(self.seed)) for one in batch]
            ids = torch.tensor(sizes).to(latents.device)
        predicted = self.predict(noisy, t, texts, time_ids=ids)
        target = schedule.velocity(latents, white, t) if args.v_parameterization else white
        return self._mean_distance(predicted, target, t), t

    def _flow(
        self, latents: torch.Tensor, texts: Conditioning, timestep: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        args, count = self.args, len(latents)
        white = noise.gaussian(latents)
        if timestep is None:
            height, width = latents.shape[-2:]
            share, t = flow.sigmas(count, height, width, args)
        else:
            share, t = flow.fixed_sigmas(count, timestep)
        share, t = share.to(latents), t.to(latents)
        place = share.view(-1, 1, 1, 1)
        noisy = (1.0 - place) * latents + place * noise.perturbed(white, args)
        predicted = self.predict(noisy, t, texts, guidance=float(args.guidance_scale))
        predicted, factor = flow.prediction(predicted.float(), noisy, share, args)
        return self._mean_distance(predicted, white - latents, t, factor), t

    def _weighted(
        self, losses: tuple[torch.Tensor, torch.Tensor], weights: torch.Tensor
    ) -> torch.Tensor:
        """Times the prior's weight and, for noise prediction, what min-SNR and its kin say."""
        found, t = losses[0] * weights, losses[1]
        if self.schedule is None:
            return found
        return noise.weighted(found, t, self.schedule, self.args)

    def predict(
        self, noisy: torch.Tensor, t: torch.Tensor, texts: Conditioning, **more: Any
    ) -> torch.Tensor:
        """The denoiser's answer, in the training's precision. Samples are drawn by it, too."""
        kind = self.world.weight_dtype
        floats = {
            name: part.to(kind)
            for name, part in vars(texts).items()
            if part is not None and part.is_floating_point()
        }
        with self.world.autocast():
            texts = replace(texts, **floats)
            return self.base.predict(self.denoiser, noisy.to(kind), t, texts, **more)

    def _mean_distance(
        self,
        predicted: torch.Tensor,
        target: torch.Tensor,
        t: torch.Tensor,
        factor: torch.Tensor | None = None,
    ) -> torch.Tensor:
        threshold = None
        if self.args.loss_type in ("huber", "smooth_l1"):
            signal = self.schedule.signal if self.schedule is not None else None
            threshold = noise.huber_threshold(t, self.args, signal)
        distance = noise.distance(predicted, target, self.args, threshold)
        if factor is not None:
            distance = distance * factor
        if self.mask is not None:
            distance = distance * self.mask
        return distance.mean(dim=list(range(1, distance.dim())))

    def step_seed(self, micro_step: int) -> int:
        """`micro_step` counts the batches of this process since the start of the training."""
        return seed_of(self.seed, "step", micro_step, self.world.rank)
