"""The loss on held-out images: always the same noise at the same four timesteps, so that two
validations can be compared.
"""

from __future__ import annotations

import torch
from tqdm import tqdm

from lorakit.embedded.data.batches import validation_batches
from lorakit.embedded.training.randomness import seed_of
from lorakit.embedded.training.session import Session

PLACES = 4


def timesteps(low: int, high: int) -> list[int]:
    """Evenly between the ends: 200, 400, 600, 800 of the whole."""
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
    mine = list(enumerate(batches))[
        world.rank :: world.size
    ]  # each once: a mean over all must not depend on the processes
    total = torch.zeros(
        1, device=world.device, dtype=torch.float64 if world.device.type != "mps" else torch.float32
    )
    with tqdm(
        total=len(mine) * PLACES,
        smoothing=0,
        disable=not world.is_main,
        desc="validation steps",
        leave=False,
    ) as bar:
        for number, batch in mine:
            for place in places:
                loss = objective.loss(
                    batch,
                    seed_of(seed, "validation", number, place),
                    step=session.position.step,
                    timestep=place,
                    learning=False,
                )
                total += loss.to(total)
                bar.update(1)
    count = torch.full_like(total, len(mine) * PLACES)
    world.average([total, count])
    return float(total / count)
