"""What the kohya scripts assert, forbid or silently ignore, as far as settings and the machine
alone decide it.

Each rule has a name, the setting it speaks about, and the remedy. Names, types and choices of
options are checked before (catalogue); rules about images and captions live with the dataset.
`check` reads nothing and starts nothing.
"""

from __future__ import annotations

from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved
from lorakit.trainers.kohya.rules import (
    augment,
    caching,
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

ROOMS = (
    augment,
    caching,
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
RULES: tuple[Rule, ...] = tuple(rule for room in ROOMS for rule in room.RULES)
FINDERS: tuple[Finder, ...] = tuple(
    finder for room in ROOMS for finder in getattr(room, "FINDERS", ())
)


def check(resolved: Resolved, machine: Machine) -> list[Fault]:
    """Every fault of these settings for this machine: errors first, each with its rule's name."""
    case = Case(resolved, machine)
    found = [
        case.fault(rule) for rule in RULES if resolved.family in rule.families and rule.wrong(case)
    ]
    found += [fault for finder in FINDERS for fault in finder(case)]
    return sorted(found, key=lambda fault: fault.severity != "error")
