"""Noise prediction (SD1.5, SDXL): noise, timesteps, targets and the weights of the loss, as the
papers give them and kohya names them.

Random numbers come from torch's CPU generator, which the loop has seeded for this step: the same
noise on every device.
"""

import argparse
import math
import random

import torch
from torch import Tensor

from lorakit.embedded.training.world import seed_of, send

STEPS = 1000


class Schedule:
    """Stable Diffusion's forward process: betas linear in their square roots."""

    def __init__(self, *, zero_terminal_snr: bool, device: torch.device | str) -> None:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float32) ** 2
        signal = torch.cumprod(1.0 - betas, dim=0)
        # kohya weighs losses by the ratio before the rescaling below, where a weight would be 0
        self.snr = ((signal.sqrt() / (1.0 - signal).sqrt()) ** 2).to(device)
        if zero_terminal_snr:
            signal = _to_zero(signal)
        self.signal = signal.to(device)

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        a, b = self._amounts(t, latents)
        return a * latents + b * noise

    def velocity(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        a, b = self._amounts(t, latents)
        return a * noise - b * latents

    def _amounts(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        share = self.signal[t].to(like.dtype).view(-1, *[1] * (like.dim() - 1))
        return share.sqrt(), (1.0 - share).sqrt()


def _to_zero(signal: Tensor) -> Tensor:
    """The last of the square roots becomes 0, the first stays (arXiv 2305.08891)."""
    root = signal.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * (first / (first - last))) ** 2


def sample_noise(latents: Tensor, args: argparse.Namespace, step_seed: int) -> Tensor:
    """White noise, plus an offset per channel, plus coarser noise, as asked for."""
    noise = gaussian(latents)
    if args.noise_offset:
        offset: float | Tensor = args.noise_offset
        if args.noise_offset_random_strength:
            offset = send(torch.rand(1), latents.device) * args.noise_offset
        if args.adaptive_noise_scale is not None:
            mean = latents.mean(dim=(2, 3), keepdim=True).abs()
            offset = torch.clamp(offset + args.adaptive_noise_scale * mean, min=0.0)
        noise = noise + offset * gaussian(latents[:, :, :1, :1])
    if args.multires_noise_iterations:
        levels, discount = args.multires_noise_iterations, args.multires_noise_discount
        noise = _pyramid(noise, levels, discount, step_seed)
    return noise


def perturbed(noise: Tensor, args: argparse.Namespace) -> Tensor:
    """What is mixed into the latents: the noise, or with input perturbation a little more."""
    if not args.ip_noise_gamma:
        return noise
    share = float(torch.rand(1)) if args.ip_noise_gamma_random_strength else 1.0
    return noise + args.ip_noise_gamma * share * gaussian(noise)


def gaussian(like: Tensor) -> Tensor:
    return send(torch.randn(like.shape), like.device).to(like.dtype)


def _pyramid(noise: Tensor, iterations: int, discount: float, step_seed: int) -> Tensor:
    """Coarser and coarser noise on top, then back to unit variance (multires noise)."""
    height, width = noise.shape[-2:]
    chance = random.Random(seed_of(step_seed, "pyramid"))
    for level in range(iterations):
        factor = (2 + 2 * chance.random()) ** level
        size = (max(1, int(height / factor)), max(1, int(width / factor)))
        coarse = gaussian(noise[:, :, : size[0], : size[1]])
        wide = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        noise = noise + wide * discount**level
        if 1 in size:
            break
    return noise / noise.std()


def weighted(loss: Tensor, t: Tensor, schedule: Schedule, args: argparse.Namespace) -> Tensor:
    """Per-sample losses times what min-SNR, debiasing and the v-prediction options say."""
    snr = schedule.snr[t].float()
    bounded = snr.clamp(max=1000)  # infinite at the first step
    if args.min_snr_gamma:
        clamped = snr.clamp(max=args.min_snr_gamma)
        loss = loss * clamped / (snr + 1 if args.v_parameterization else snr)
    share = bounded / (bounded + 1)
    if args.scale_v_pred_loss_like_noise_pred:
        loss = loss * share
    if args.v_pred_like_loss:
        loss = loss + loss / share * args.v_pred_like_loss
    if args.debiased_estimation_loss:
        loss = loss / (bounded + 1 if args.v_parameterization else bounded.sqrt())
    return loss


def huber_threshold(t: Tensor, args: argparse.Namespace, schedule: Schedule | None) -> Tensor:
    """The point where the loss turns from square to straight, per sample (arXiv 2403.16728)."""
    if args.huber_schedule == "exponential":
        return torch.exp(t.float() * math.log(args.huber_c) / STEPS) * args.huber_scale
    if args.huber_schedule == "snr" and schedule is not None:
        share = schedule.signal[t.long().clamp(0, STEPS - 1)]
        return (1 - args.huber_c) / (1 + ((1.0 - share) / share) ** 0.5) ** 2 + args.huber_c
    return torch.full(t.shape, args.huber_c * args.huber_scale, device=t.device)


def distance(
    prediction: Tensor,
    target: Tensor,
    t: Tensor,
    args: argparse.Namespace,
    schedule: Schedule | None,
) -> Tensor:
    """The loss of every element."""
    error = prediction.float() - target.float()
    if args.loss_type == "l2":
        return error**2
    if args.loss_type == "l1":
        return error.abs()
    c = huber_threshold(t, args, schedule).float().view(-1, *[1] * (error.dim() - 1))
    straight = 2 * (torch.sqrt(error**2 + c**2) - c)
    return c * straight if args.loss_type == "huber" else straight
