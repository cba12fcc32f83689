"""Train the toy base's VAE: 64 px pictures to 16 x 16 x 4 latents. A quarter of an hour on two
cores.

    python tools/toy/train_vae.py --out recipes/demo/base

It is a picture codec: it sees drawn pictures, a third of them in mixed-up colours, and never the
character. The latents' scale is folded into its last layers, so SD1.5's scaling factor holds and
every channel has mean 0 and deviation 1 after it.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from draw import any_scene, contact_sheet, draw
from PIL import Image
from torch.nn import functional
from workers import join, shared, together

SCALING = 0.18215  # Stable Diffusion 1.5's


def new_vae(*, attention: bool = False) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=SCALING,
        mid_block_add_attention=attention,
    )


def drawn(count: int, *, first: int = 0) -> torch.Tensor:
    """Pictures of the base's world, uint8, count x 3 x 64 x 64."""
    pixels = np.stack(
        [
            np.asarray(draw(any_scene(seed, wide=True), seed=seed))
            for seed in range(first, first + count)
        ]
    )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def recoloured(pixels: torch.Tensor, chance: float = 0.35) -> torch.Tensor:
    """Some of the pictures with their three channels mixed at random: shapes stay, colours become
    any.
    """
    mix = torch.rand(len(pixels), 3, 3)
    mix = mix / mix.sum(dim=2, keepdim=True)
    mixed = torch.einsum(
        "bij,bjhw->bihw", mix + 0.7 * (torch.eye(3)[torch.randperm(3)] - mix), pixels
    )
    flip = torch.rand(len(pixels), 3, 1, 1) < 0.3
    mixed = torch.where(flip, -mixed, mixed)
    return torch.where(torch.rand(len(pixels), 1, 1, 1) < chance, mixed, pixels)


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def thumbnail(pixels: torch.Tensor) -> torch.Tensor:
    """What the first three latents are taught to be: lightness and two opponent colours of each 4
    x 4 patch, about unit size.
    """
    red, green, blue = functional.avg_pool2d(pixels, 4).unbind(1)
    return torch.stack(
        [0.6 * (red + green + blue), 2.2 * (red - green), 1.8 * (blue - (red + green) / 2)], dim=1
    )


@dataclass(frozen=True)
class Phase:
    """One descent of the learning rate, and how much each part of the loss counts in it."""

    steps: int
    rate: float
    recolour: float  # share of pictures in mixed-up colours
    sharp: float  # edges
    square: float  # squared error, which minds colours most
    taught: float  # the first three latents against the thumbnail

    def loss(self, vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            decoded = vae.decode(posterior.sample()).sample.float()
        mean, gap = posterior.mean.float(), decoded - pixels
        loss = gap.abs().mean() + self.square * gap.square().mean()
        loss = loss + self.sharp * sum(
            (a - b).abs().mean() for a, b in zip(edges(decoded), edges(pixels), strict=True)
        )
        loss = loss + self.taught * (mean[:, :3] - thumbnail(pixels)).square().mean()
        return loss + 1e-4 * (mean**2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()


# Left to itself, the VAE spent its latents on shapes and lost a colour axis; the third phase
# teaches it to keep colours.
PHASES = (
    Phase(2600, 2e-3, 0.35, 1.0, 0.0, 0.0),
    Phase(800, 1.5e-3, 0.15, 0.3, 2.0, 0.0),
    Phase(700, 2e-3, 0.15, 0.5, 1.0, 2.0),
)


# The decoder alone, first in the world's own colours, then in any: the latents stay what they are.
FINISH = (Phase(1000, 1.5e-3, 0.1, 0.7, 1.0, 0.0), Phase(1800, 1.5e-3, 0.5, 0.5, 1.0, 0.0))


def run_phase(
    phase: Phase, vae: AutoencoderKL, store: torch.Tensor, worker: int, args: argparse.Namespace
) -> None:
    parameters = list((vae.decoder if phase in FINISH else vae).parameters())
    vae.requires_grad_(requires_grad=False)
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(parameters, lr=phase.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, (step + 1) / 50)
            * (0.02 + 0.98 * (1 + math.cos(math.pi * step / phase.steps)) / 2)
        ),
    )
    started, total = time.monotonic(), 0.0
    for step in range(1, phase.steps + 1):
        pixels = recoloured(
            store[torch.randint(len(store), (args.batch,))].float() / 127.5 - 1, phase.recolour
        )
        loss = phase.loss(vae, pixels)
        loss.backward()
        shared(parameters, args.workers)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        total += loss.item()
        if step % 100 == 0 and worker == 0:
            print(
                f"step {step}/{phase.steps}  loss {total / 100:.4f} "
                f" {time.monotonic() - started:.0f} s",
                flush=True,
            )
            total = 0.0


def train(worker: int, args: argparse.Namespace, meeting: str) -> None:
    join(worker, args.workers, meeting)
    torch.manual_seed(15)
    vae = new_vae()
    if args.start:
        vae.load_state_dict(
            AutoencoderKL.from_pretrained(args.start, torch_dtype=torch.float32).state_dict(),
            strict=False,
        )
    torch.manual_seed(16 + worker)
    store = drawn(args.pictures)
    if args.phase < len(PHASES):
        if args.start:
            unfold_scale(vae)
        for phase in PHASES[args.phase :]:
            run_phase(phase, vae, store, worker, args)
        fold_scale(vae)
    for phase in FINISH[max(0, args.phase - len(PHASES)) :]:
        run_phase(phase, vae, store, worker, args)
    if worker == 0:
        whole = with_attention(vae)
        whole.half().save_pretrained(args.out / "vae")
        show(whole.float(), args.show)


@torch.no_grad()
def fold_scale(vae: AutoencoderKL) -> None:
    """Make every latent channel mean 0, deviation 1 after SD1.5's scaling factor, by changing the
    two 1x1 layers around it.
    """
    latents = torch.cat(
        [
            vae.encode(part.float() / 127.5 - 1).latent_dist.mean
            for part in drawn(512, first=500_000).split(64)
        ]
    )
    mean, wide = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    factor = 1 / (wide * SCALING)
    out, back = vae.quant_conv, vae.post_quant_conv
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight /= factor.view(1, 4, 1, 1)
    out.bias[:4] = (out.bias[:4] - mean) * factor
    out.weight[:4] *= factor.view(4, 1, 1, 1)
    out.bias[4:] += 2 * factor.log()


def with_attention(vae: AutoencoderKL) -> AutoencoderKL:
    """The same VAE with the attention that SD1.5's has in the middle, silent: pictures this small
    need none, loaders expect it.
    """
    whole = new_vae(attention=True)
    whole.load_state_dict(vae.state_dict(), strict=False)
    for half in (whole.encoder, whole.decoder):
        out = half.mid_block.attentions[0].to_out[0]
        torch.nn.init.zeros_(out.weight)
        torch.nn.init.zeros_(out.bias)
    return whole.eval()


@torch.no_grad()
def unfold_scale(vae: AutoencoderKL) -> None:
    """Latents of deviation 1 again, to go on training where their pull towards the unit normal has
    its meaning.
    """
    vae.quant_conv.weight[:4] *= SCALING
    vae.quant_conv.bias[:4] *= SCALING
    vae.quant_conv.bias[4:] += 2 * math.log(SCALING)
    vae.post_quant_conv.weight /= SCALING


@torch.no_grad()
def show(vae: AutoencoderKL, path: Path) -> None:
    """Twelve pictures it has not seen, and below each what is left of it."""
    pixels = drawn(24, first=600_000).float() / 127.5 - 1
    again = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    print(f"mean error of a pixel: {(again - pixels).abs().mean() * 127.5:.2f} of 255")
    rows = [
        ((part + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        for part in (pixels[:12], again[:12], pixels[12:], again[12:])
    ]
    sheet = contact_sheet([Image.fromarray(picture) for row in rows for picture in row], 12)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the base's folder; the VAE goes to vae/ in it"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="of one worker")
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--phase", type=int, default=0, help="begin with this phase")
    parser.add_argument(
        "--start", type=Path, help="from this VAE, which has been through the phases before"
    )
    parser.add_argument(
        "--show",
        type=Path,
        default=Path("vae.png"),
        help="a picture of originals and what comes back",
    )
    args = parser.parse_args()
    together(train, args)


if __name__ == "__main__":
    main()
