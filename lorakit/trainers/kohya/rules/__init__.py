"""What the kohya scripts assert, forbid or silently ignore, as far as settings and the machine
alone decide it.

Each rule has a name, the setting it speaks about, and the remedy. Names, types and choices of
options are checked before (catalogue); rules about images and captions live with the dataset.
They read and start nothing, except in environment.py, which asks the trainer's Python.
"""

from __future__ import annotations

from lorakit.trainers.kohya.rules import (
    augment,
    caching,
    environment,
    launch,
    learning,
    memory,
    model,
    network,
    precision,
    sampling,
    schedule,
    steps,
)
from lorakit.trainers.rule import Finder

TABLES = (
    *(augment, caching, environment, launch, learning, memory, model),
    *(network, precision, sampling, schedule, steps),
)
RULES: tuple[Finder, ...] = tuple(rule for table in TABLES for rule in table.RULES)
