"""The loss of one batch, for every family: what goes into the denoiser, what should come out, and
how far off it is. `draw` does what needs the host (chance, files, captions), `loss_of` the rest,
`validate` takes the mean over what was held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lorakit.embedded.data.batches import Batch, validation_batches
from lorakit.embedded.data.cache import Latents, Texts
from lorakit.embedded.data.images import size_ids
from lorakit.embedded.models import Conditioning
from lorakit.embedded.models.prompts import Tokens
from lorakit.embedded.training import flow, noise
from lorakit.embedded.training.task import Task
from lorakit.embedded.training.world import seed_of, send

PLACES = 4  # in time, at which held-out images are measured


@dataclass(frozen=True)
class Inputs:
    """One batch as the device sees it: drawn, looked up and sent. What is computed from it asks the
    host nothing more, so that it can be recorded and replayed.
    """

    latents: Tensor
    white: Tensor  # the noise
    mixed: Tensor  # what is mixed into the latents: the noise, or slightly more of it
    t: Tensor  # a timestep for every sample
    weights: Tensor  # of the samples' losses
    share: Tensor | None = None  # of noise, where matching a flow
    time_ids: Tensor | None = None  # SDXL
    masks: Tensor | None = None  # how much each place of the latents counts
    texts: Conditioning | None = None
    tokens: Tokens = ()  # where a text encoder learns

    def tensors(self) -> dict[str, Tensor]:
        words = vars(self.texts) if self.texts is not None else {}
        tokens = {f"tokens {place}": part for place, part in enumerate(self.tokens)}
        every = {**vars(self), **words, **tokens}
        return {key: part for key, part in every.items() if torch.is_tensor(part)}

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for batches that one recording serves."""
        return tuple((key, tuple(x.shape), x.dtype) for key, x in self.tensors().items())

    @property
    def words(self) -> str:
        high, wide = self.latents.shape[-2:]
        length = f", {self.texts.hidden.shape[1]} tokens" if self.texts is not None else ""
        return f"latents of {wide}x{high}, batch {len(self.latents)}{length}"

    def overwrite(self, other: "Inputs") -> None:
        for own, new in zip(self.tensors().values(), other.tensors().values(), strict=True):
            own.copy_(new)


class Objective:
    def __init__(self, task: Task, denoiser: nn.Module, latents: Latents, texts: Texts) -> None:
        args = task.args
        self.args, self.world, self.base, self.seed = args, task.world, task.base, task.seed
        self.denoiser, self.latents, self.texts = denoiser, latents, texts
        # samples are drawn by it, too
        self.predict = partial(self.base.predict, denoiser, dtype=self.world.weight_dtype)
        self.schedule: noise.Schedule | None = None  # FLUX has none
        if self.base.prediction != "flow":
            terminal = bool(args.zero_terminal_snr)
            self.schedule = noise.Schedule(zero_terminal_snr=terminal, device=self.world.device)
        self.low = args.min_timestep or 0
        self.high = noise.STEPS if args.max_timestep is None else args.max_timestep

    def draw(
        self,
        batch: Batch,
        step_seed: int,
        *,
        step: int,
        timestep: int | None = None,
        pixels: Sequence[Tensor] | None = None,
        learning: bool = True,
    ) -> Inputs:
        """Everything random follows from `step_seed`; a given timestep is used for every sample."""
        torch.manual_seed(step_seed)
        latents = self.latents.of(batch, self.seed, pixels)
        total = self.args.max_train_steps
        captions = [one.caption(self.seed, step=step, total_steps=total) for one in batch]
        tokens: Tokens = ()
        if learning and self.texts.trained:
            tokens, texts = self.texts.tokens(captions), self.texts.kept(captions)
        else:
            texts = self.texts.of(captions)
        prior = self.args.prior_loss_weight
        weights = torch.tensor([prior if one.image.subset.is_reg else 1.0 for one in batch])
        masks = self.latents.masks.of(batch, self.seed, latents.shape[2:])
        ids = None
        if self.base.family == "sdxl":
            sizes = [size_ids(one.image, flip=one.flipped(self.seed)) for one in batch]
            ids = send(torch.tensor(sizes), latents.device)
        return replace(
            self._drawn(latents, step_seed, timestep),
            weights=send(weights, latents.device),
            masks=None if masks is None else send(masks, latents.device),
            time_ids=ids,
            texts=texts,
            tokens=tokens,
        )

    def _drawn(self, latents: Tensor, step_seed: int, timestep: int | None) -> Inputs:
        """Noise and timesteps."""
        args, count, device, share = self.args, len(latents), latents.device, None
        if self.schedule is None:
            white = noise.gaussian(latents)
            if timestep is None:
                height, width = latents.shape[-2:]
                share = flow.sigmas(count, height, width, args)
                t = share * flow.STEPS
            else:
                t = torch.full((count,), float(timestep))
                share = t / flow.STEPS
            share = send(share, device)
        else:
            white = noise.sample_noise(latents, args, step_seed)
            low, high = (self.low, self.high) if timestep is None else (timestep, timestep)
            # `high` is excluded, except that low = high means exactly that one
            t = torch.randint(low, high, (count,)) if low < high else torch.full((count,), high)
        t, ones = send(t, device), torch.ones(count, device=device)
        return Inputs(latents, white, noise.perturbed(white, args), t, ones, share)

    def loss_of(self, inputs: Inputs, *, learning: bool = True) -> Tensor:
        with torch.set_grad_enabled(learning):
            texts = inputs.texts
            if inputs.tokens:
                texts = self.texts.told(inputs.tokens, texts)
            assert texts is not None
            return self._losses(inputs, texts).mean()

    def _losses(self, inputs: Inputs, texts: Conditioning) -> Tensor:
        """Of every sample."""
        args, latents, t, schedule = self.args, inputs.latents, inputs.t, self.schedule
        if schedule is None:
            assert inputs.share is not None
            place = inputs.share.view(-1, 1, 1, 1)
            noisy = (1.0 - place) * latents + place * inputs.mixed
            answer = self.predict(noisy, t, texts, guidance=float(args.guidance_scale))
            answer, factor = flow.prediction(answer.float(), noisy, inputs.share, args)
            target = inputs.white - latents
        else:
            noisy = schedule.noised(latents, inputs.mixed, t)
            answer, factor = self.predict(noisy, t, texts, time_ids=inputs.time_ids), None
            velocity = args.v_parameterization
            target = schedule.velocity(latents, inputs.white, t) if velocity else inputs.white
        distance = noise.distance(answer, target, t, args, schedule)
        for share in (factor, inputs.masks):
            if share is not None:
                distance = distance * share
        losses = distance.mean(dim=list(range(1, distance.dim()))) * inputs.weights
        return losses if schedule is None else noise.weighted(losses, t, schedule, args)


def held_out_timesteps(low: int, high: int) -> list[int]:
    """Evenly between the ends: 200, 400, 600, 800 of all."""
    return [int(low + (high - low) * place / (PLACES + 1)) for place in range(1, PLACES + 1)]


@torch.no_grad()
def validate(task: Task, objective: Objective, *, step: int) -> float | None:
    """The mean over all that is held out, always under the same noise; None where nothing is."""
    batches = validation_batches(task.datasets)
    if not batches:
        return None
    args, world = task.args, task.world
    if args.max_validation_steps is not None:
        batches = batches[: args.max_validation_steps]
    seed = args.validation_seed if args.validation_seed is not None else task.seed
    places = held_out_timesteps(objective.low, objective.high)
    # each once: a mean over all must not depend on the number of processes
    mine = list(enumerate(batches))[world.rank :: world.size]
    asked = [(number, batch, place) for number, batch in mine for place in places]
    kind = torch.float32 if world.device.type == "mps" else torch.float64
    total = torch.zeros(1, device=world.device, dtype=kind)
    for number, batch, place in tqdm(
        asked, smoothing=0, disable=not world.is_main, desc="validation steps", leave=False
    ):
        chance = seed_of(seed, "validation", number, place)
        drawn = objective.draw(batch, chance, step=step, timestep=place, learning=False)
        total += objective.loss_of(drawn, learning=False).to(total)
    count = torch.full_like(total, len(asked))
    world.average([total, count])
    return float(total / count)
