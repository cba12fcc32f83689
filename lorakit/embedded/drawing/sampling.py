"""Samples: the network that is being trained draws the sample prompts. Random numbers are its own,
so the training is not disturbed.
"""

import time
from dataclasses import replace
from pathlib import Path

import torch

from lorakit.catalogue.file_names import SampleName
from lorakit.embedded.drawing.picture import Painter, pictures
from lorakit.embedded.training.report import Trackers
from lorakit.embedded.training.session import Session
from lorakit.embedded.training.world import emit
from lorakit.pictures.open import write_png


def due(session: Session, *, step: int, epoch: int | None) -> bool:
    """`epoch` is given at an epoch's end. Where both intervals are set, epochs win, as by kohya."""
    args = session.args
    if step == 0:
        return bool(args.sample_at_first)
    if (args.sample_every_n_epochs or 0) > 0:
        return epoch is not None and epoch % args.sample_every_n_epochs == 0
    every = args.sample_every_n_steps or 0
    return every > 0 and epoch is None and step % every == 0


@torch.no_grad()
def draw_all(session: Session, trackers: Trackers, *, step: int, epoch: int | None) -> None:
    """Every prompt; with several processes each draws its share."""
    world, latents = session.world, session.latents
    world.say(f"generating sample images at step: {step}")
    vae_is_wanted = latents.vae is not None
    painter = Painter(session.base, world.device, session.texts.of, session.objective.predict)
    for number, prompt in list(enumerate(session.prompts))[world.rank :: world.size]:
        seed = torch.seed() % 2**31 + number + step if prompt.seed is None else prompt.seed
        sampler = prompt.sample_sampler or session.args.sample_sampler or "ddim"
        drawn = painter.latents([replace(prompt, seed=seed)], sampler.removeprefix("k_"))
        (picture,) = pictures(session.base, latents.open(), drawn.to(latents.dtype))
        now = time.strftime("%Y%m%d%H%M%S")
        name = SampleName(session.args.output_name, number, now, epoch, step, prompt.seed)
        path = Path(session.args.output_dir) / "sample" / str(name)
        write_png(path, picture)
        emit("sample", path=str(path), step=step, prompt=prompt.prompt)
        trackers.picture(number, path, prompt.prompt, step=step)
    if not vae_is_wanted:
        latents.close()
    world.wait()
