"""Losses of a base and of its LoRAs at fixed noise, and how far a LoRA moves the pictures that the
base draws itself: `python -m lorakit.embedded.judging.measure order.json`, run by lorakit.judge as
a child process.

The base is loaded once; noise, latents and the base's own answers are made once and kept. A line of
JSON goes to the order's `results` for the base and for every cell (a LoRA at a strength) as soon as
it is known, and what has a line there is not measured again.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from lorakit import json_text
from lorakit.dataset.buckets import Placement
from lorakit.embedded.data.cache import Texts
from lorakit.embedded.data.dataset import Image
from lorakit.embedded.data.dataset_config import Subset
from lorakit.embedded.data.images import pixels, size_ids
from lorakit.embedded.drawing.generate import alike, as_a_child, open_studio, together
from lorakit.embedded.training import flow, noise
from lorakit.embedded.training.world import seed_of
from lorakit.files import write_atomic

Order = Mapping[str, Any]
HELD, TRAIN, DRAWN = "held", "train", "drawn"
AT_ONCE, AT_ONCE_TINY = 4, 32


@dataclass(frozen=True)
class Shot:
    """A picture under one noise at one timestep, and what the denoiser should answer."""

    kind: str
    number: int  # of the picture among its kind
    caption: str
    sides: tuple[float, ...]  # SDXL's six
    noisy: torch.Tensor
    timestep: float
    target: torch.Tensor


class Bench:
    """Every shot of an order, and the studio that answers them."""

    def __init__(self, order: Order) -> None:
        self.order, self.studio = order, open_studio(order)
        terminal = bool(order.get("zero_terminal_snr"))
        self.schedule = noise.Schedule(zero_terminal_snr=terminal, device="cpu")
        shots = [shot for kind in (HELD, TRAIN) for shot in self._pictures(kind)]
        self.shots = [*shots, *self._drawn()]
        self.texts = self._texts()

    @torch.inference_mode()
    def _pictures(self, kind: str) -> Iterator[Shot]:
        base, studio = self.studio.base, self.studio
        for number, told in enumerate(self.order[kind]):
            path, size = Path(told["file"]), tuple(told["size"])
            placement = Placement(tuple(told["bucket"]), tuple(told["scaled"]), 0)
            image = Image(path, Subset(path.parent), told["caption"], size, placement, 1)
            batch = pixels(image, image.path.read_bytes(), flip=False)[None]
            mean = studio.vae.encode(batch.to(studio.device)).mean.float().cpu()
            latent = (mean[0] - base.vae_shift) * base.vae_scaling
            sides = tuple(size_ids(image, flip=False))
            yield from self._shots(kind, number, told["caption"], sides, latent)

    def _drawn(self) -> Iterator[Shot]:
        jobs = self.order[DRAWN]
        for number, (job, latent) in enumerate(zip(jobs, self._own_latents(jobs), strict=True)):
            height, width = float(job["height"]), float(job["width"])
            sides = (height, width, 0.0, 0.0, height, width)
            yield from self._shots(DRAWN, number, job["prompt"], sides, latent)

    def _own_latents(self, jobs: Sequence[Order]) -> list[torch.Tensor]:
        """What the base draws for the control prompts: kept beside the results."""
        kept = Path(self.order["drawn_file"])
        if not kept.exists():
            numbered = [{**job, "place": str(place)} for place, job in enumerate(jobs)]
            drawn: dict[str, torch.Tensor] = {}
            for group in alike(numbered, AT_ONCE_TINY if self.studio.base.is_tiny else 1):
                latents = self.studio.latents(group).float().cpu()
                drawn |= {job["place"]: one for job, one in zip(group, latents, strict=True)}
            write_atomic(kept, save({name: one.contiguous() for name, one in drawn.items()}))
        found = load_file(kept)
        return [found[str(place)] for place in range(len(jobs))]

    def _shots(
        self, kind: str, number: int, caption: str, sides: tuple[float, ...], latent: torch.Tensor
    ) -> Iterator[Shot]:
        prediction = self.studio.base.prediction
        for place in self.order["places"][kind]:
            seed = seed_of(self.order["seed"], kind, number, place)
            white = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
            if prediction == "flow":
                share = torch.tensor(place / flow.STEPS)
                noisy, target = (1 - share) * latent + share * white, white - latent
            else:
                t = torch.tensor([place])
                noisy = self.schedule.noised(latent[None], white[None], t)[0]
                velocity = self.schedule.velocity(latent[None], white[None], t)[0]
                target = velocity if prediction == "v_prediction" else white
            yield Shot(kind, number, caption, sides, noisy, float(place), target)

    def _texts(self) -> Texts:
        """What the encoders make of every caption, as they are now."""
        asked = self.studio.texts
        texts = Texts(asked.base, asked.device, asked.tokenizers, asked.encoders)
        texts.remember(list(dict.fromkeys(shot.caption for shot in self.shots)), 16)
        texts.encoders = ()
        return texts

    @torch.inference_mode()
    def answers(self, shots: Sequence[Shot], texts: Texts) -> dict[int, torch.Tensor]:
        """The denoiser's answer to each shot, by its place among them."""
        studio, at_once = self.studio, AT_ONCE_TINY if self.studio.base.is_tiny else AT_ONCE
        answered: dict[int, torch.Tensor] = {}
        for places in together(range(len(shots)), lambda at: shots[at].noisy.shape, at_once):
            group = [shots[at] for at in places]
            ids = torch.tensor([one.sides for one in group]).to(studio.device)
            noisy = torch.stack([one.noisy for one in group]).to(studio.device)
            t = torch.tensor([one.timestep for one in group], device=studio.device)
            text = texts.of([one.caption for one in group])
            out = studio.predict(noisy, t, text, time_ids=ids).float().cpu()
            answered |= dict(zip(places, out, strict=True))
        return answered

    def measure(self, lora: str | None, strength: float, kinds: Sequence[str]) -> dict[str, Any]:
        """Losses of each picture, one a timestep; of drawn ones the squared distance from the
        base's answer, in parts of that answer's square.
        """
        shots = [shot for shot in self.shots if shot.kind in kinds]
        with self.studio.wearing(*([(lora, strength)] if lora else [])) as changed:
            words = any(name.startswith("lora_te") for name in changed)
            texts = self._texts() if words else self.texts
            answered = self.answers(shots, texts)
        if lora is None:  # every kind: what a LoRA is held against on the base's own pictures
            self.shots = [
                replace(one, target=answered[at]) if one.kind == DRAWN else one
                for at, one in enumerate(shots)
            ]
        found: dict[str, dict[int, list[float | None]]] = {kind: {} for kind in kinds}
        for at, shot in enumerate(shots):
            loss = float(((answered[at] - shot.target) ** 2).mean())
            if shot.kind == DRAWN:
                loss = 0.0 if lora is None else loss / float((shot.target**2).mean())
            losses = found[shot.kind].setdefault(shot.number, [])
            losses.append(loss if math.isfinite(loss) else None)
        return {kind: list(numbers.values()) for kind, numbers in found.items()}


def fill(order: Order) -> None:
    """Every line that is not there yet, until the order's time is used up."""
    started, results = time.monotonic(), Path(order["results"])
    bench, longest = Bench(order), 0.0
    there = {json_text.loads(line)["cell"] for line in results.read_bytes().splitlines()}
    every = [{"cell": "base", "lora": None, "strength": 0.0, "kinds": [HELD, TRAIN, DRAWN]}]
    for cell in [*every, *order["cells"]]:
        began = time.monotonic()
        if cell["cell"] in there and cell["lora"] is not None:
            continue
        if order["budget_s"] is not None and began - started + longest > order["budget_s"]:
            break
        found = bench.measure(cell["lora"], float(cell["strength"]), cell["kinds"])
        if cell["cell"] not in there:
            with results.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"cell": cell["cell"], **found}) + "\n")
        longest = max(longest, time.monotonic() - began)


if __name__ == "__main__":
    as_a_child(fill)
