"""What the kohya scripts assert, forbid or silently ignore, as far as settings and the machine
alone decide it.

Each rule has a name, the setting it speaks about, and the remedy. Names, types and choices of
options are checked before (catalogue); rules about images and captions live with the dataset.
`check` reads and starts nothing, except in environment.py, which asks the trainer's Python.
"""

from __future__ import annotations

from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved
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
from lorakit.trainers.rule import Case, Finder, Rule

TABLES = (
    *(augment, caching, environment, launch, learning, memory, model),
    *(network, precision, sampling, schedule, steps),
)
RULES: tuple[Rule, ...] = tuple(rule for table in TABLES for rule in table.RULES)
FINDERS: tuple[Finder, ...] = tuple(
    finder for table in TABLES for finder in getattr(table, "FINDERS", ())
)


def check(resolved: Resolved, machine: Machine) -> list[Fault]:
    """Every fault of these settings for this machine: errors first, each with its rule's name."""
    case = Case(resolved, machine)
    judges = (*(rule.judge for rule in RULES), *FINDERS)
    found = [fault for judge in judges for fault in judge(case)]
    return sorted(found, key=lambda fault: fault.severity != "error")
