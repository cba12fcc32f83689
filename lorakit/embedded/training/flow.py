"""Flow matching (FLUX): how noisy a step is, what is predicted, how its loss is weighed."""

import argparse
import math

import torch

STEPS = 1000


def sigmas(count: int, height: int, width: int, args: argparse.Namespace) -> torch.Tensor:
    """Every sample's share of noise, a thousandth of its timestep; the sides are the latents'."""
    sampling = args.timestep_sampling
    if sampling == "sigma":
        return _from_table(_density(count, args), args.discrete_flow_shift)
    if sampling == "uniform":
        return torch.rand(count)
    share = torch.sigmoid(torch.randn(count) * args.sigmoid_scale)
    if sampling == "shift":
        return _shifted(share, args.discrete_flow_shift)
    return by_size(share, height, width) if sampling == "flux_shift" else share


def _shifted(share: torch.Tensor, shift: float) -> torch.Tensor:
    return share * shift / (1 + (shift - 1) * share)


def by_size(share: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """FLUX's own: e^0.5 at 256 tokens, e^1.15 at 4096, a straight line between and beyond."""
    tokens = (height // 2) * (width // 2)
    return _shifted(share, math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)))


def _density(count: int, args: argparse.Namespace) -> torch.Tensor:
    """SD3's ways to draw a place in the table (arXiv 2403.03206)."""
    if args.weighting_scheme == "logit_normal":
        return torch.sigmoid(torch.randn(count) * args.logit_std + args.logit_mean)
    place = torch.rand(count)
    if args.weighting_scheme == "mode":
        place = 1 - place - args.mode_scale * (torch.cos(math.pi * place / 2) ** 2 - 1 + place)
    return place


def _from_table(place: torch.Tensor, shift: float) -> torch.Tensor:
    """The discrete Euler schedule: a thousand shares from 1 downwards, shifted."""
    table = _shifted(torch.arange(STEPS, 0, -1, dtype=torch.float32) / STEPS, shift)
    return table[(place * STEPS).long().clamp(0, STEPS - 1)]


def prediction(
    output: torch.Tensor, noisy: torch.Tensor, share: torch.Tensor, args: argparse.Namespace
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What `model_prediction_type` makes of the output, and the loss' weight where it has one."""
    share = share.view(-1, *[1] * (output.dim() - 1))
    if args.model_prediction_type == "raw":
        return output, None
    if args.model_prediction_type == "additive":
        return output + noisy, None
    weight = torch.ones_like(share)
    if args.weighting_scheme == "sigma_sqrt":
        weight = share**-2.0
    elif args.weighting_scheme == "cosmap":
        weight = 2 / (math.pi * (1 - 2 * share + 2 * share**2))
    return output * -share + noisy, weight
