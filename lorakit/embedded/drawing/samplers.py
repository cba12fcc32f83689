"""Samplers: from noise to latents, a step at a time. All of them walk down a list of noise levels
(sigmas, how much noise is on a clean picture), so DDIM and FLUX's flow are Euler's method too.

Tables and results are those of diffusers' schedulers under kohya's names; no model is called here
but the one handed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from lorakit.embedded.training.flow import STEPS, by_size
from lorakit.embedded.training.noise import Schedule

# noisy latents, place in the list -> clean ones
Clean = Callable[[torch.Tensor, int], torch.Tensor]
Noise = Callable[[], torch.Tensor]
Walk = Callable[[Clean, torch.Tensor, Sequence[float], Noise], torch.Tensor]


@dataclass(frozen=True)
class Path:
    """What a sampler walks along: noise levels that end in 0, the denoiser's timestep at each but
    the last, and what the first noise is multiplied by.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    start: float = 1.0


def path(name: str, count: int) -> Path:
    """Stable Diffusion's noise levels, spaced as kohya's sampler of that name spaces them."""
    signal = Schedule(zero_terminal_snr=False, device="cpu").signal.double().numpy()
    levels = ((1 - signal) / signal) ** 0.5
    last = STEPS - 1
    if name == "ddim":
        times = np.arange(count)[::-1] * (STEPS // count) + 1.0
    elif name == "dpmsolver++":
        times = np.linspace(0, last, count + 1).round()[:0:-1]
    else:
        times = np.linspace(0, last, count, dtype=np.float32)[::-1]
    sigmas = np.interp(times, np.arange(STEPS), levels).tolist()
    start = (sigmas[0] ** 2 + 1) ** 0.5 if name in ("ddim", "dpmsolver++") else sigmas[0]
    return Path((*sigmas, 0.0), tuple(times.tolist()), start)


def flow_path(count: int, height: int, width: int) -> Path:
    """FLUX: shares of noise, shifted by the size of the latents."""
    even = torch.linspace(1.0, 1.0 / count, count)
    shares = tuple(map(float, by_size(even, height, width)))
    return Path((*shares, 0.0), tuple(share * STEPS for share in shares))


def euler(clean: Clean, x: torch.Tensor, sigmas: Sequence[float], _: Noise) -> torch.Tensor:
    for place, (now, then) in enumerate(pairwise(sigmas)):
        x = x + (x - clean(x, place)) * ((then - now) / now)
    return x


def euler_a(clean: Clean, x: torch.Tensor, sigmas: Sequence[float], noise: Noise) -> torch.Tensor:
    """Ancestral: a step too far down, and fresh noise back up."""
    for place, (now, then) in enumerate(pairwise(sigmas)):
        up = (then**2 * (now**2 - then**2) / now**2) ** 0.5
        down = (then**2 - up**2) ** 0.5
        x = x + (x - clean(x, place)) * ((down - now) / now) + noise() * up
    return x


def heun(clean: Clean, x: torch.Tensor, sigmas: Sequence[float], _: Noise) -> torch.Tensor:
    """The mean of the slopes at both ends of a step; the last step, down to 0, is Euler's."""
    for place, (now, then) in enumerate(pairwise(sigmas)):
        slope = (x - clean(x, place)) / now
        if then:
            ahead = x + slope * (then - now)
            slope = (slope + (ahead - clean(ahead, place + 1)) / then) / 2
        x = x + slope * (then - now)
    return x


def dpm_multistep(clean: Clean, x: torch.Tensor, sigmas: Sequence[float], _: Noise) -> torch.Tensor:
    """DPM-Solver++ of second order, which remembers the step before; first and last are of first
    order.
    """
    before: tuple[torch.Tensor, float] | None = None  # the clean latents one step back, its ratio
    for place, (now, then) in enumerate(pairwise(sigmas)):
        found = ahead = clean(x, place)
        if before is not None and then:
            old, ratio = before
            ahead = found + (found - old) * (float(np.log(then / now) / np.log(ratio)) / 2)
        x = x * (then / now) + ahead * (1 - then / now)
        before = (found, then / now)
    return x


SAMPLERS: dict[str, Walk] = {
    "ddim": euler,
    "euler": euler,
    "euler_a": euler_a,
    "heun": heun,
    "dpmsolver++": dpm_multistep,
}
