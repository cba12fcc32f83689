"""A small judge of small pictures: which figure, which colour, which background. It scores the
demo; it trains nothing else. About two minutes on one core:

    python tools/toy/recognise.py --out recipes/demo/judge.safetensors

It learns from drawn pictures alone, the character among them, blurred and noisy as a toy model's
are.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from draw import (
    FIGURES,
    PLACES,
    PLAIN,
    SPOKEN_COLOURS,
    Scene,
    Thing,
    any_scene,
    character_scene,
    draw,
)
from figures import CHARACTER
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

KINDS, HUES, GROUNDS = (*FIGURES, *CHARACTER), (*SPOKEN_COLOURS, ""), (*PLAIN, *PLACES)


@dataclass(frozen=True)
class Verdict:
    """What the judge sees, and how sure it is that it sees the character."""

    kind: str
    colour: str
    background: str
    character: float


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 72, 96)
        self.layers = nn.Sequential(
            *[
                part
                for before, width in pairwise(widths)
                for part in (
                    nn.Conv2d(before, width, 3, stride=2, padding=1),
                    nn.GroupNorm(8, width),
                    nn.SiLU(),
                )
            ]
        )
        self.heads = nn.Linear(16 * widths[-1], len(KINDS) + len(HUES) + len(GROUNDS))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.heads(self.layers(pixels).flatten(1)).split(
            (len(KINDS), len(HUES), len(GROUNDS)), dim=1
        )


def as_pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    table = np.stack(
        [
            np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX))
            for image in images
        ]
    )
    return torch.from_numpy(table).permute(0, 3, 1, 2).float() / 127.5 - 1


def one_thing(seed: int) -> Scene:
    """A scene with one thing in it; every eighth is the character."""
    rng = random.Random(f"judge {seed}")
    while True:
        scene = (
            character_scene(rng.randrange(1 << 30))
            if seed % 8 == 0
            else any_scene(rng.randrange(1 << 30))
        )
        if len(scene.things) == 1:
            return scene


def answers(scenes: Sequence[Scene]) -> list[torch.Tensor]:
    return [
        torch.tensor([KINDS.index(scene.things[0].kind) for scene in scenes]),
        torch.tensor([HUES.index(scene.things[0].colour) for scene in scenes]),
        torch.tensor([GROUNDS.index(scene.background) for scene in scenes]),
    ]


def roughened(pixels: torch.Tensor) -> torch.Tensor:
    """Blurred, shifted, noisy, a little off in colour: the judge must not live on sharp edges."""
    small = functional.interpolate(pixels, size=random.choice((24, 32, 48)), mode="area")
    soft = functional.interpolate(small, size=64, mode="bilinear")
    pixels = torch.lerp(pixels, soft, torch.rand(len(pixels), 1, 1, 1))
    pixels = pixels * (1 + 0.1 * torch.randn(len(pixels), 3, 1, 1)) + 0.06 * torch.randn(
        len(pixels), 3, 1, 1
    )
    pixels = torch.roll(pixels, (random.randint(-3, 3), random.randint(-3, 3)), (2, 3))
    return (pixels + 0.08 * torch.rand(1) * torch.randn_like(pixels)).clamp(-1, 1)


def train(steps: int, pictures: int) -> Judge:
    judge = Judge()
    scenes = [one_thing(seed) for seed in range(pictures)]
    store, truth = (
        as_pixels([draw(scene, seed=seed) for seed, scene in enumerate(scenes)]),
        answers(scenes),
    )
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(store), (64,))
        guesses = judge(roughened(store[chosen]))
        loss = sum(
            functional.cross_entropy(guess, right[chosen])
            for guess, right in zip(guesses, truth, strict=True)
        )
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 200 == 0:
            print(f"step {step}/{steps}  loss {loss.item():.3f}", flush=True)
    return judge.eval()


def load_judge(path: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return judge.eval()


@torch.no_grad()
def judged(judge: Judge, images: Sequence[Image.Image]) -> list[Verdict]:
    kinds, hues, grounds = judge(as_pixels(images))
    sure = kinds.softmax(dim=1)[:, KINDS.index("zwx")]
    return [
        Verdict(KINDS[kind], HUES[hue], GROUNDS[ground], float(share))
        for kind, hue, ground, share in zip(
            kinds.argmax(1), hues.argmax(1), grounds.argmax(1), sure, strict=True
        )
    ]


def obeyed(verdict: Verdict, scene: Scene) -> float:
    """How much of a scene with one thing is there: figure, colour and background, a third each."""
    thing: Thing = scene.things[0]
    right = (verdict.kind == thing.kind, verdict.background == scene.background)
    return (sum(right) + (verdict.colour == thing.colour)) / 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--pictures", type=int, default=12_000)
    args = parser.parse_args()
    torch.manual_seed(15)
    random.seed(15)
    judge = train(args.steps, args.pictures)
    scenes = [one_thing(seed) for seed in range(900_000, 900_600)]
    verdicts = judged(judge, [draw(scene, seed=seed) for seed, scene in enumerate(scenes)])
    share = [obeyed(verdict, scene) for verdict, scene in zip(verdicts, scenes, strict=True)]
    kinds = sum(
        verdict.kind == scene.things[0].kind
        for verdict, scene in zip(verdicts, scenes, strict=True)
    )
    print(
        f"on 600 drawings it has not seen: figure {kinds / 600:.1%}, figure, colour and background"
        f" {sum(share) / 600:.1%}"
    )
    save_file(
        {name: tensor.half().contiguous() for name, tensor in judge.state_dict().items()}, args.out
    )


if __name__ == "__main__":
    main()
