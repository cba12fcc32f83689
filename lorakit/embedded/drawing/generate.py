"""Pictures from a base model and LoRAs at several strengths: `python generate.py order.json`, run
by lorakit.sheet as a child process.

The order names the base in kohya's options, the prompts with their seeds, and every LoRA with its
strength; each picture is written where the order says, and a line is printed when it is there.
Noise depends on the seed alone, so columns of a sheet compare.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lorakit.embedded.models import Base, Conditioning, ldm_module, open_base
from lorakit.embedded.training.flow import flux_schedule
from lorakit.errors import LorakitError, SetupError

Prompt = Mapping[str, Any]  # prompt, negative, width, height, steps, scale, seed
TEXT_PREFIXES = {
    "sd15": ("lora_te",),
    "sdxl": ("lora_te1", "lora_te2"),
    "flux": ("lora_te1", "lora_te3"),
}


class Studio:
    """A base model, loaded once, that LoRAs are laid over and taken off again."""

    def __init__(self, base: Base, device: str, dtype: torch.dtype) -> None:
        self.base, self.device, self.dtype = base, device, dtype
        self.tokenizers = base.load_tokenizers()
        self.encoders = base.load_encoders(dtype, device)
        self.denoiser = base.load_denoiser(dtype, device)
        self.vae = base.load_vae(torch.float32, device)
        self.layers = dict(self._named_layers())

    def _named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Every layer a LoRA may change, under kohya's name for it."""
        networks = [
            ("lora_unet", self.denoiser),
            *zip(TEXT_PREFIXES[self.base.family], self.encoders, strict=True),
        ]
        for prefix, network in networks:
            for path, module in network.named_modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    name = (
                        ldm_module(path, network.config)
                        if prefix == "lora_unet" and self.base.family == "sdxl"
                        else path
                    )
                    yield f"{prefix}_{name.replace('.', '_')}", module

    @contextmanager
    def wearing(self, lora: str | None, strength: float) -> Iterator[None]:
        """The base with a LoRA added to its weights; the old weights come back to the last bit."""
        kept: list[tuple[nn.Module, torch.Tensor]] = []
        try:
            if lora is not None and strength:
                for name, change in changes(Path(lora)):
                    if name not in self.layers:
                        raise SetupError(
                            f"{lora}: {name} fits no layer of {self.base.name}; it was trained on"
                            " another model."
                        )
                    module = self.layers[name]
                    weight = module.weight
                    kept.append((module, weight.detach().clone()))
                    with torch.no_grad():
                        weight += (
                            (strength * change.to(self.device))
                            .reshape(weight.shape)
                            .to(weight.dtype)
                        )
            yield
        finally:
            with torch.no_grad():
                for module, weight in reversed(kept):
                    module.weight.copy_(weight)

    @torch.inference_mode()
    def draw(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        """One picture per prompt; all of one size, number of steps and scale."""
        first = prompts[0]
        step = self.base.latent_step
        size = (
            self.base.latent_channels,
            int(first["height"]) // step,
            int(first["width"]) // step,
        )
        noise = torch.stack(
            [
                torch.randn(size, generator=torch.Generator().manual_seed(int(prompt["seed"])))
                for prompt in prompts
            ]
        )
        told = self._told([str(prompt["prompt"]) for prompt in prompts])
        if self.base.family == "flux":
            latents = self._flow(
                noise.to(self.device), told, int(first["steps"]), float(first["scale"])
            )
        else:
            untold = self._told([str(prompt.get("negative") or "") for prompt in prompts])
            latents = self._ddim(
                noise.to(self.device), told, untold, int(first["steps"]), float(first["scale"])
            )
        pixels = self.base.to_pixels(self.vae, latents.float()).clamp(-1, 1)
        table = ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(picture) for picture in table]

    def _told(self, texts: Sequence[str]) -> Conditioning:
        tokens = tuple(part.to(self.device) for part in self.base.tokenize(self.tokenizers, texts))
        return self.base.encode(self.encoders, tokens)

    def _ddim(
        self,
        latents: torch.Tensor,
        told: Conditioning,
        untold: Conditioning,
        steps: int,
        scale: float,
    ) -> torch.Tensor:
        """DDIM without noise over evenly spaced steps, with the betas of SD1.5 and SDXL."""
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        kept = torch.cumprod(1 - betas, 0)
        times = torch.linspace(999, 0, steps + 1).round().long()
        height, width = (side * self.base.latent_step for side in latents.shape[-2:])
        ids = torch.tensor(
            [[height, width, 0, 0, height, width]] * len(latents),
            device=self.device,
            dtype=self.dtype,
        )
        for now, then in pairwise(times.tolist()):
            at = torch.full((len(latents),), now, device=self.device)
            answers = [
                self.base.predict(
                    self.denoiser, latents.to(self.dtype), at, words, time_ids=ids
                ).float()
                for words in ((told,) if scale == 1 else (told, untold))
            ]
            answer = answers[0] if scale == 1 else answers[1] + scale * (answers[0] - answers[1])
            signal, spread = float(kept[now]) ** 0.5, float(1 - kept[now]) ** 0.5
            if self.base.prediction == "v_prediction":
                clean, noise = (
                    signal * latents - spread * answer,
                    signal * answer + spread * latents,
                )
            else:
                clean, noise = (latents - spread * answer) / signal, answer
            left = float(kept[then]) if then > 0 else 1.0
            latents = left**0.5 * clean + (1 - left) ** 0.5 * noise
        return latents

    def _flow(
        self, latents: torch.Tensor, told: Conditioning, steps: int, guidance: float
    ) -> torch.Tensor:
        """Euler steps along the flow, with FLUX's shift by picture size."""
        for now, then in pairwise(flux_schedule(steps, *latents.shape[-2:])):
            at = torch.full((len(latents),), now * 1000, device=self.device, dtype=self.dtype)
            answer = self.base.predict(
                self.denoiser, latents.to(self.dtype), at, told, guidance=guidance
            )
            latents = latents + (then - now) * answer.float()
        return latents


def changes(lora: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """What a LoRA adds to each layer at strength 1: up x down, scaled by alpha / rank, flattened
    behind the first dimension.
    """
    tensors = load_file(lora)
    for key, down in tensors.items():
        name, _, rest = key.partition(".")
        if rest == "lora_down.weight":
            alpha = tensors.get(f"{name}.alpha")
            rank = down.shape[0]
            factor = 1.0 if alpha is None else float(alpha) / rank
            yield (
                name,
                factor
                * (tensors[f"{name}.lora_up.weight"].float().flatten(1) @ down.float().flatten(1)),
            )


def fill(order: Mapping[str, Any]) -> None:
    """Every picture of the order that is not there yet."""
    device = (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )
    options = argparse.Namespace(**order["options"])
    base = open_base(options, order["family"])
    dtype = torch.float32 if device == "cpu" or base.is_tiny else torch.bfloat16
    studio = Studio(base, device, dtype)
    at_once = 16 if base.is_tiny else 1
    for column in order["columns"]:
        waiting = [job for job in column["pictures"] if not Path(job["file"]).exists()]
        with studio.wearing(column["lora"], float(column["strength"])):
            for group in alike(waiting, at_once):
                for job, picture in zip(group, studio.draw(group), strict=True):
                    beside = Path(job["file"]).with_suffix(".part")
                    picture.save(beside, "PNG")
                    os.replace(beside, job["file"])
                    print(job["file"], flush=True)


def alike(jobs: Sequence[Prompt], at_once: int) -> Iterator[list[Prompt]]:
    """Jobs that can be drawn together: same size, steps and scale."""
    groups: dict[tuple[Any, ...], list[Prompt]] = {}
    for job in jobs:
        groups.setdefault((job["width"], job["height"], job["steps"], job["scale"]), []).append(job)
    for group in groups.values():
        for first in range(0, len(group), at_once):
            yield group[first : first + at_once]


if __name__ == "__main__":
    try:
        fill(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except LorakitError as error:
        sys.exit(str(error))
