"""The loss on held-out images: the same noise at the same timesteps, so that two compare."""

from __future__ import annotations

import torch
from tqdm import tqdm

from lorakit.embedded.data.batches import validation_batches
from lorakit.embedded.training.session import Session
from lorakit.embedded.training.world import seed_of

PLACES = 4


def timesteps(low: int, high: int) -> list[int]:
    """Evenly between the ends: 200, 400, 600, 800 of all."""
    return [int(low + (high - low) * place / (PLACES + 1)) for place in range(1, PLACES + 1)]


@torch.no_grad()
def validate(session: Session) -> float | None:
    """The mean over all held-out batches and timesteps; None where nothing is held out."""
    batches = validation_batches(session.datasets)
    if not batches:
        return None
    args, world, objective = session.args, session.world, session.objective
    if args.max_validation_steps is not None:
        batches = batches[: args.max_validation_steps]
    seed = args.validation_seed if args.validation_seed is not None else session.seed
    places = timesteps(objective.low, objective.high)
    # each once: a mean over all must not depend on the number of processes
    mine = list(enumerate(batches))[world.rank :: world.size]
    asked = [(number, batch, place) for number, batch in mine for place in places]
    kind = torch.float32 if world.device.type == "mps" else torch.float64
    total = torch.zeros(1, device=world.device, dtype=kind)
    silent, step = not world.is_main, session.position.step
    for number, batch, place in tqdm(
        asked, smoothing=0, disable=silent, desc="validation steps", leave=False
    ):
        chance = seed_of(seed, "validation", number, place)
        drawn = objective.draw(batch, chance, step=step, timestep=place, learning=False)
        total += objective.loss_of(drawn, learning=False).to(total)
    count = torch.full_like(total, len(asked))
    world.average([total, count])
    return float(total / count)
