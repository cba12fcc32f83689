"""Pictures from a base model and LoRAs at several strengths: `python generate.py order.json`, run
by lorakit.sheet as a child process.

The order names the base in kohya's options, the prompts with their seeds, and every LoRA with its
strength; each picture is written where the order says, and a line is printed when it is there.
Noise depends on the seed alone, so columns of a sheet compare.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from lorakit.embedded.data.cache import Texts
from lorakit.embedded.drawing.picture import Painter, pictures
from lorakit.embedded.drawing.sample_prompts import Prompt
from lorakit.embedded.drawing.samplers import SAMPLERS
from lorakit.embedded.models import Base, ldm_module, open_base
from lorakit.embedded.network.lycoris import changed
from lorakit.embedded.training.world import best_device
from lorakit.errors import LorakitError, SetupError
from lorakit.pictures.open import write_png
from lorakit.processes import end_with_parent

T = TypeVar("T")
Job = Mapping[str, Any]  # prompt, negative, width, height, steps, scale, seed, file
ALIKE = ("width", "height", "steps", "scale")  # jobs that agree in these are drawn together
TEXT_PREFIXES = {
    "sd15": ("lora_te",),
    "sdxl": ("lora_te1", "lora_te2"),
    "flux": ("lora_te1", "lora_te3"),
}


class Studio:
    """A base model, loaded once, that LoRAs are laid over and taken off again."""

    def __init__(
        self, base: Base, device: str, dtype: torch.dtype, sampler: str | None = None
    ) -> None:
        self.base, self.device = base, device
        name = (sampler or "ddim").removeprefix("k_")
        # sd-scripts may have drawn this run's samples with one that is not among ours
        self.sampler = name if name in SAMPLERS else "ddim"
        encoders = base.load_encoders(dtype, device)
        self.texts = Texts(base, torch.device(device), base.load_tokenizers(), encoders)
        self.denoiser = base.load_denoiser(dtype, device)
        self.predict = partial(base.predict, self.denoiser, dtype=dtype)
        self.vae = base.load_vae(torch.float32, device)
        self.layers = dict(self._named_layers())

    def _named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Every layer a LoRA may change, under kohya's name for it."""
        base = self.base
        texts = zip(TEXT_PREFIXES[base.family], self.texts.encoders, strict=True)
        for prefix, network in (("lora_unet", self.denoiser), *texts):
            ldm = prefix == "lora_unet" and base.family == "sdxl"
            for path, module in network.named_modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    name = ldm_module(path, network.config) if ldm else path
                    yield f"{prefix}_{name.replace('.', '_')}", module

    @contextmanager
    def wearing(self, *worn: tuple[str, float]) -> Iterator[set[str]]:
        """The base with LoRAs added to its weights; the old weights come back to the last bit.
        Yields the names of the layers they change.
        """
        kept: dict[str, Tensor] = {}
        try:
            for lora, strength in worn:
                self._put_on(Path(lora), strength, kept)
            yield set(kept)
        finally:
            for name, old in kept.items():
                self.layers[name].weight.detach().copy_(old)

    def _put_on(self, lora: Path, strength: float, kept: dict[str, Tensor]) -> None:
        found = adapters(lora) if strength else {}
        for name, parts in found.items():
            if name not in self.layers:
                what = f"{name} fits no layer of {self.base.name}; it was trained on"
                raise SetupError(f"{lora}: {what} another model.")
            weight = self.layers[name].weight.detach()
            kept.setdefault(name, weight.clone())
            weight.copy_(changed(parts, weight, strength))
        if strength and not found:
            raise SetupError(f"{lora}: none of its keys has a form that can be drawn with.")

    @torch.inference_mode()
    def draw(self, jobs: Sequence[Job]) -> list[Image.Image]:
        """One picture per job; all of one size, number of steps and scale."""
        return pictures(self.base, self.vae, self.latents(jobs))

    @torch.inference_mode()
    def latents(self, jobs: Sequence[Job]) -> Tensor:
        """The same before the VAE makes pixels of them."""
        painter = Painter(self.base, self.device, self.texts.of, self.predict)
        return painter.latents([self._prompt(job) for job in jobs], self.sampler)

    def _prompt(self, job: Job) -> Prompt:
        """A sheet's scale is FLUX's guidance: it has no other."""
        scale, flux = float(job["scale"]), self.base.family == "flux"
        return Prompt(
            str(job["prompt"]),
            str(job.get("negative") or ""),
            int(job["width"]),
            int(job["height"]),
            sample_steps=int(job["steps"]),
            scale=1.0 if flux else scale,
            guidance_scale=scale,
            seed=int(job["seed"]),
        )


def adapters(lora: Path) -> dict[str, dict[str, Tensor]]:
    """Each layer that a file changes, and what it has for it."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(lora).items():
        name, _, rest = key.partition(".")
        if name.startswith("lora_"):
            found.setdefault(name, {})[rest] = tensor
    return found


def open_studio(order: Mapping[str, Any]) -> Studio:
    """The base that an order names, on the best device here."""
    device, options = best_device(), dict(order["options"])
    base = open_base(argparse.Namespace(**options), order["family"])
    dtype = torch.float32 if device == "cpu" or base.is_tiny else torch.bfloat16
    return Studio(base, device, dtype, options.get("sample_sampler"))


def fill(order: Mapping[str, Any]) -> None:
    """Every picture of the order that is not there yet."""
    studio = open_studio(order)
    at_once = 16 if studio.base.is_tiny else 1
    for column in order["columns"]:
        waiting = [job for job in column["pictures"] if not Path(job["file"]).exists()]
        with studio.wearing(*column["loras"]):
            for group in alike(waiting, at_once):
                if time.time() > (order.get("until") or float("inf")):
                    return
                for job, picture in zip(group, studio.draw(group), strict=True):
                    write_png(Path(job["file"]), picture)
                    print(job["file"], flush=True)


def alike(jobs: Sequence[Job], at_once: int) -> Iterator[list[Job]]:
    """Jobs that can be drawn together."""
    return together(jobs, lambda job: tuple(job[name] for name in ALIKE), at_once)


def together(every: Iterable[T], kind: Callable[[T], Hashable], at_once: int) -> Iterator[list[T]]:
    """Those of one kind, at most so many at a time."""
    groups: dict[Hashable, list[T]] = {}
    for one in every:
        groups.setdefault(kind(one), []).append(one)
    for group in groups.values():
        for first in range(0, len(group), at_once):
            yield group[first : first + at_once]


def as_a_child(work: Callable[[Mapping[str, Any]], None]) -> None:
    """The order that the command line names; what is wrong goes to the parent."""
    end_with_parent()
    try:
        work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except LorakitError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    as_a_child(fill)
