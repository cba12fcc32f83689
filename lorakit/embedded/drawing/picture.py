"""A picture from noise and words, for samples during a training and for sheets alike: the same
prompt, seed and weights give the same picture in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from lorakit.embedded.drawing.sample_prompts import Prompt
from lorakit.embedded.drawing.samplers import SAMPLERS, euler, flow_path, path
from lorakit.embedded.models import Base, Conditioning


@dataclass(frozen=True)
class Painter:
    base: Base
    device: Any
    encode: Callable[[list[str]], Conditioning]
    predict: Callable[..., torch.Tensor]  # the denoiser: latents, timesteps, conditioning, ...

    def latents(self, prompts: Sequence[Prompt], sampler: str) -> torch.Tensor:
        """One per prompt; the prompts agree in everything but their words and seeds."""
        base, first, flow = self.base, prompts[0], self.base.prediction == "flow"
        unit = base.latent_step * (2 if flow else 1)
        height, width = (max(unit, side - side % unit) for side in (first.height, first.width))
        channels = base.vae.config["latent_channels"]
        size = (channels, height // base.latent_step, width // base.latent_step)
        chances = [torch.Generator().manual_seed(prompt.seed or 0) for prompt in prompts]

        def noise() -> torch.Tensor:
            drawn = [torch.randn(size, generator=chance) for chance in chances]
            return torch.stack(drawn).to(self.device)

        steps = first.sample_steps or (20 if flow else 30)
        way = flow_path(steps, *size[1:]) if flow else path(sampler, steps)
        walk = euler if flow else SAMPLERS[sampler]
        answer = self._guided(prompts, height, width)

        def clean(x: torch.Tensor, place: int) -> torch.Tensor:
            sigma = way.sigmas[place]
            spread = 1.0 if flow else (sigma**2 + 1) ** 0.5
            t = torch.full((len(x),), way.timesteps[place], device=self.device)
            predicted = answer(x / spread, t)
            if base.prediction == "v_prediction":
                return x / spread**2 - predicted * (sigma / spread)
            return x - predicted * sigma

        return walk(clean, noise() * way.start, way.sigmas, noise)

    def _guided(self, prompts: Sequence[Prompt], height: int, width: int) -> Callable[..., Any]:
        """The denoiser's answer: away from the negative prompt, unless the scale is 1."""
        first, flow = prompts[0], self.base.prediction == "flow"
        scale = first.scale if first.scale is not None else 1.0 if flow else 7.5
        wanted = self.encode([prompt.prompt for prompt in prompts])
        sides = [float(side) for side in (height, width, 0, 0, height, width)]
        ids = torch.tensor([sides] * len(prompts), device=self.device)
        more = {"guidance": first.guidance_scale, "time_ids": ids}
        if scale == 1.0:
            return lambda x, t: self.predict(x, t, wanted, **more).float()
        unwanted = self.encode([prompt.negative_prompt for prompt in prompts])

        def answer(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            yes, no = (self.predict(x, t, one, **more).float() for one in (wanted, unwanted))
            return no + scale * (yes - no)

        return answer


def pictures(base: Base, vae: Any, latents: torch.Tensor) -> list[Image.Image]:
    pixels = vae.decode(latents / base.vae_scaling + base.vae_shift).float().clamp(-1, 1)
    table = ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(one) for one in table]
