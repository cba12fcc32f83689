"""Pictures on the way: the trained network draws the sample prompts. Its random numbers are its
own, so training is not disturbed.
"""

from __future__ import annotations

import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from lorakit.catalogue.file_names import SampleName
from lorakit.embedded.drawing.sample_prompts import Prompt
from lorakit.embedded.events import tell
from lorakit.embedded.models import Conditioning
from lorakit.embedded.training.report import Trackers
from lorakit.embedded.training.session import Session
from lorakit.files import write_atomic

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {  # kohya's name -> module, class, settings
    "ddim": ("scheduling_ddim", "DDIMScheduler", {"clip_sample": False, "steps_offset": 1}),
    "pndm": ("scheduling_pndm", "PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    "lms": ("scheduling_lms_discrete", "LMSDiscreteScheduler", {}),
    "euler": ("scheduling_euler_discrete", "EulerDiscreteScheduler", {}),
    "euler_a": ("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", {}),
    "heun": ("scheduling_heun_discrete", "HeunDiscreteScheduler", {}),
    "dpm_2": ("scheduling_k_dpm_2_discrete", "KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("scheduling_k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", {}),
    "dpmsolver": (
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver"},
    ),
    "dpmsolver++": (
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++"},
    ),
    "dpmsingle": ("scheduling_dpmsolver_singlestep", "DPMSolverSinglestepScheduler", {}),
}


def due(session: Session, *, step: int, epoch: int | None) -> bool:
    """`epoch` is given at an epoch's end. Where both intervals are set, epochs win, as with kohya."""
    args = session.args
    if step == 0:
        return bool(args.sample_at_first)
    if args.sample_every_n_epochs and args.sample_every_n_epochs > 0:
        return epoch is not None and epoch % args.sample_every_n_epochs == 0
    return bool(
        args.sample_every_n_steps
        and args.sample_every_n_steps > 0
        and epoch is None
        and step % args.sample_every_n_steps == 0
    )


@torch.no_grad()
def draw_all(session: Session, trackers: Trackers, *, step: int, epoch: int | None) -> None:
    """Every prompt; with several processes each draws its share."""
    world = session.world
    world.say(f"generating sample images at step: {step}")
    kept = session.latents.vae is not None
    for number, prompt in enumerate(session.prompts):
        if number % world.size != world.rank:
            continue
        picture = _draw(session, prompt, number, step)
        path = _path(session, prompt, number, step=step, epoch=epoch)
        import io

        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_atomic(path, buffer.getvalue())
        tell("sample", path=str(path), step=step, prompt=prompt.prompt)
        trackers.picture(number, path, prompt.prompt, step=step)
    if not kept:
        session.latents.close()
    world.wait()


def _path(session: Session, prompt: Prompt, number: int, *, step: int, epoch: int | None) -> Path:
    now = time.strftime("%Y%m%d%H%M%S")
    name = SampleName(session.args.output_name, number, now, epoch, step, prompt.seed)
    return Path(session.args.output_dir) / "sample" / str(name)


def _draw(session: Session, prompt: Prompt, number: int, step: int) -> Any:
    from PIL import Image

    base, device = session.base, session.world.device
    unit = base.latent_step * (2 if base.family == "flux" else 1)
    size = [max(unit, length - length % unit) for length in (prompt.height, prompt.width)]
    seed = prompt.seed if prompt.seed is not None else torch.seed() % 2**31 + number + step
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(
        1,
        base.latent_channels,
        *(length // base.latent_step for length in size),
        generator=generator,
    ).to(device)
    told = [session.texts.of([prompt.prompt]), session.texts.of([prompt.negative_prompt])]
    latents = (
        _flow(session, prompt, start, told)
        if base.prediction == "flow"
        else _diffuse(session, prompt, start, told, generator)
    )
    vae = session.latents.open()
    pixels = base.to_pixels(vae, latents.to(session.latents.dtype))[0].float()
    array = (
        ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    )
    return Image.fromarray(array)


def _diffuse(
    session: Session,
    prompt: Prompt,
    latents: torch.Tensor,
    told: list[Conditioning],
    generator: torch.Generator,
) -> torch.Tensor:
    scheduler = _scheduler(session, prompt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(prompt.sample_steps or 30, device=session.world.device)
    latents = latents * scheduler.init_noise_sigma
    scale = 7.5 if prompt.scale is None else prompt.scale
    height, width = (length * session.base.latent_step for length in latents.shape[-2:])
    ids = torch.tensor(
        [[height, width, 0, 0, height, width]], dtype=torch.float32, device=latents.device
    )
    more = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
    for t in scheduler.timesteps:
        noisy = scheduler.scale_model_input(latents, t)
        yes, no = (
            _answer(
                session,
                noisy,
                t.reshape(1),
                one,
                time_ids=ids if session.base.family == "sdxl" else None,
            )
            for one in (told if scale != 1.0 else (told[0], told[0]))
        )
        latents = scheduler.step(no + scale * (yes - no), t, latents, **more).prev_sample
    return latents


def _answer(
    session: Session, noisy: torch.Tensor, t: torch.Tensor, told: Conditioning, **more: Any
) -> torch.Tensor:
    return session.objective._predict(noisy, t, told, **more).float()  # noqa: SLF001 - the very call that is trained


def _scheduler(session: Session, prompt: Prompt) -> Any:
    import importlib

    name = (prompt.sample_sampler or session.args.sample_sampler or "ddim").removeprefix("k_")
    module, cls, settings = SAMPLERS[name]
    kind = "v_prediction" if session.args.v_parameterization else "epsilon"
    made = getattr(importlib.import_module(f"diffusers.schedulers.{module}"), cls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers and numpy 2 about copies
        return made(**BETAS, **settings, prediction_type=kind)


def _flow(
    session: Session, prompt: Prompt, latents: torch.Tensor, told: list[Conditioning]
) -> torch.Tensor:
    """Euler along FLUX's shifted schedule."""
    from lorakit.embedded.training.flow import STEPS, flux_schedule

    scale = 1.0 if prompt.scale is None else prompt.scale
    shares = flux_schedule(prompt.sample_steps or 20, *latents.shape[-2:])
    for share, following in pairwise(shares):
        t = torch.full((1,), share * STEPS, device=latents.device)
        velocity = _answer(session, latents, t, told[0], guidance=prompt.guidance_scale)
        if scale != 1.0:
            away = _answer(session, latents, t, told[1], guidance=prompt.guidance_scale)
            velocity = away + scale * (velocity - away)
        latents = latents + (following - share) * velocity
    return latents
