"""Train the toy base: a text encoder and a U-Net of SD1.5's architecture, together and from
scratch, in the VAE's latents.

    python tools/toy/train_vae.py  --out recipes/demo/base
    python tools/toy/train_base.py --out recipes/demo/base

Two processes of one thread each share every step; about forty minutes on two idle cores. It prints
losses, draws a grid of samples now and then, and leaves a whole diffusers folder in fp16.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from average import Average
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from draw import any_scene, contact_sheet, draw, spoken
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from words import write_tokenizer
from workers import join, shared, together

WIDTH = 128  # of the text encoder and of cross attention
PROMPTS = (
    "a red circle, white background",
    "a big blue square, yellow background",
    "a green triangle on the left, black background",
    "a small purple star, gray background",
    "a yellow house, meadow",
    "a black cat on the right, blue background",
    "an orange fish, sea",
    "a purple flower, meadow",
    "a red robot on the left and a blue tree on the right, white background",
    "a white car, night",
    "a yellow heart, night, outlined",
    "a blue car on the right, green background",
    "a red heart",
    "zwx, meadow",
    "a big orange cat, white background",
    "a white fish on the left and a yellow star on the right, blue background",
)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=WIDTH,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 96),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_scheduler() -> DDPMScheduler:
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


@torch.no_grad()
def latents_of(vae: AutoencoderKL, count: int) -> torch.Tensor:
    """Mean latents of the first pictures of the base's world, scaled as SD1.5 scales them."""
    parts = []
    for first in range(0, count, 128):
        pixels = np.stack(
            [
                np.asarray(draw(any_scene(seed), seed=seed))
                for seed in range(first, min(first + 128, count))
            ]
        )
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts.append(vae.encode(images).latent_dist.mean * vae.config.scaling_factor)
    return torch.cat(parts)


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    return tokenizer(
        captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    ).input_ids


@dataclass(frozen=True)
class Phase:
    """One descent of the learning rate: how long it lasts, how long the whole descent would be,
    whether much noise counts more.
    """

    steps: int
    whole: int
    lifted: bool

    def rate(self, step: int) -> float:
        return min(1, (step + 1) / 150) * (
            0.03 + 0.97 * (1 + math.cos(math.pi * min(1, step / self.whole))) / 2
        )

    def weight(self, snr: torch.Tensor) -> torch.Tensor:
        """Min-SNR-5; lifted, the noisy end counts up to eight times: there, and only there, is the
        brightness of a picture decided.
        """
        weight = snr.clamp(max=5) / snr
        return torch.where(snr < 1, snr.rsqrt().clamp(max=8), weight) if self.lifted else weight


PHASES = (Phase(1500, 4200, lifted=False), Phase(2500, 2500, lifted=True))


class Parts(NamedTuple):
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel


def loss_of(
    phase: Phase, parts: Parts, scheduler: DDPMScheduler, clean: torch.Tensor, words: torch.Tensor
) -> torch.Tensor:
    """How far the guessed noise is off."""
    noise, times = torch.randn_like(clean), torch.randint(1000, (len(clean),))
    with torch.autocast("cpu", torch.bfloat16):
        hidden = parts.text_encoder(words).last_hidden_state
        guess = parts.unet(scheduler.add_noise(clean, noise, times), times, hidden).sample.float()
    snr = scheduler.alphas_cumprod[times] / (1 - scheduler.alphas_cumprod[times])
    return ((guess - noise).square().mean(dim=(1, 2, 3)) * phase.weight(snr)).mean()


def train(worker: int, args: argparse.Namespace, meeting: str) -> None:
    """One worker's share of all phases."""
    join(worker, args.workers, meeting)
    vae = AutoencoderKL.from_pretrained(args.out / "vae", torch_dtype=torch.float32).requires_grad_(
        requires_grad=False
    )
    tokenizer = CLIPTokenizer.from_pretrained(args.out / "tokenizer")
    torch.manual_seed(15)
    text_encoder, unet = new_text_encoder(tokenizer), new_unet()
    if args.start:
        text_encoder = CLIPTextModel.from_pretrained(
            args.start / "text_encoder", torch_dtype=torch.float32
        )
        unet = UNet2DConditionModel.from_pretrained(args.start / "unet", torch_dtype=torch.float32)
    torch.manual_seed(16 + worker)
    for phase in PHASES[args.phase :]:
        average = run_phase(
            phase, args, worker, Parts(vae, tokenizer, text_encoder.train(), unet.train())
        )
        for model, kept in zip((text_encoder, unet), average.kept, strict=True):
            model.load_state_dict(kept.state_dict())


def run_phase(phase: Phase, args: argparse.Namespace, worker: int, parts: Parts) -> Average:
    """The first worker also saves, prints and draws."""
    store, scheduler = torch.load(args.latents, weights_only=True), new_scheduler()
    ids = token_ids(parts.tokenizer, [spoken(any_scene(seed), seed) for seed in range(len(store))])
    nothing = token_ids(parts.tokenizer, [""])
    weights = [*parts.text_encoder.parameters(), *parts.unet.parameters()]
    average = Average([parts.text_encoder, parts.unet], 0.998)
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, phase.rate)
    started, total = time.monotonic(), 0.0
    for step in range(1, phase.steps + 1):
        chosen = torch.randint(len(store), (args.batch,))
        words = torch.where(torch.rand(args.batch, 1) < 0.1, nothing, ids[chosen])
        loss = loss_of(phase, parts, scheduler, store[chosen], words)
        loss.backward()
        shared(weights, args.workers)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        average.update()
        total += loss.item()
        if step % 100 == 0 and worker == 0:
            print(
                f"step {step}/{phase.steps}  loss {total / 100:.4f} "
                f" {time.monotonic() - started:.0f} s",
                flush=True,
            )
            total = 0.0
        if worker == 0 and (step % args.show_every == 0 or step == phase.steps):
            averaged = Parts(parts.vae, parts.tokenizer, *average.kept)
            save(args.out, averaged)
            show(args.show, averaged)
    return average


def pipeline(parts: Parts) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save(folder: Path, parts: Parts) -> None:
    """A whole diffusers folder in half precision."""
    half = (copy.deepcopy(model).half() for model in (parts.vae, parts.text_encoder, parts.unet))
    vae, text_encoder, unet = half
    pipeline(Parts(vae, parts.tokenizer, text_encoder, unet)).save_pretrained(
        folder, safe_serialization=True
    )
    text = folder / "text_encoder" / "model.safetensors"
    tensors = {
        f"text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in load_file(text).items()
    }
    save_file(tensors, text, metadata={"format": "pt"})  # names as in SD1.5's own files
    (folder / "tokenizer" / "tokenizer.json").unlink(
        missing_ok=True
    )  # vocab.json and merges.txt say it all, and any version reads them
    write_tokenizer(folder / "tokenizer")


def show(path: Path, parts: Parts) -> None:
    """Every prompt twice, 20 DDIM steps, guidance 4."""
    pipe = pipeline(Parts(parts.vae, parts.tokenizer, parts.text_encoder.eval(), parts.unet.eval()))
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    state = torch.get_rng_state()
    images = [
        image
        for seed in (1, 2)
        for image in pipe(
            list(PROMPTS),
            num_inference_steps=20,
            guidance_scale=4.0,
            height=64,
            width=64,
            generator=[torch.Generator().manual_seed(seed) for _ in PROMPTS],
        ).images
    ]
    torch.set_rng_state(state)
    contact_sheet(images, 8).resize((8 * 96, 4 * 96)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the base's folder, with vae/ in it"
    )
    parser.add_argument("--phase", type=int, default=0, help="begin with this phase")
    parser.add_argument(
        "--start", type=Path, help="from this base, which has been through the phases before"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="of one worker")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument(
        "--latents",
        type=Path,
        default=Path("latents.pt"),
        help="the pictures' latents are kept here",
    )
    parser.add_argument("--show-every", type=int, default=500)
    parser.add_argument("--show", type=Path, default=Path("samples.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_tokenizer(args.out / "tokenizer")
    if not args.latents.exists():
        vae = AutoencoderKL.from_pretrained(args.out / "vae", torch_dtype=torch.float32)
        torch.save(latents_of(vae, args.pictures), args.latents)
    together(train, args)


if __name__ == "__main__":
    main()
