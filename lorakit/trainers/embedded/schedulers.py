"""Learning-rate schedules: the factor of the learning rate at a step, under kohya's names. Pure
functions, so nothing has to be saved.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

from lorakit.errors import did_you_mean, refused
from lorakit.trainers.optimisers import SCHEDULES
from lorakit.trainers.signatures import read

Factor = Callable[[int], float]


def keyword_arguments(pairs: list[str] | None) -> dict[str, Any]:
    """`optimizer_args` and `lr_scheduler_args`: name=value with a Python literal."""
    return dict(map(read, pairs or ()))


def optimizer_type(args: argparse.Namespace) -> str:
    if args.use_8bit_adam:
        return "AdamW8bit"
    return "Lion" if args.use_lion_optimizer else args.optimizer_type or "AdamW"


def keeps_its_own_pace(args: argparse.Namespace) -> str:
    """The optimiser's name where it sets the learning rate itself, without a schedule; else ""."""
    name = optimizer_type(args)
    keywords = keyword_arguments(args.optimizer_args)
    relative = name.lower() == "adafactor" and (
        keywords.get("relative_step", True) or keywords.get("warmup_init")
    )
    return name if relative or name.lower().endswith("schedulefree") else ""


def schedule(args: argparse.Namespace, total: int) -> Factor:
    """`total` counts the steps of all processes, as kohya's schedule does."""
    name = args.lr_scheduler
    warmup, decay = _steps(args.lr_warmup_steps, total), _steps(args.lr_decay_steps, total)
    if name not in SCHEDULES:
        raise refused(f"lr_scheduler = {name!r}", "is not known.", did_you_mean(name, SCHEDULES))
    if name == "constant" and warmup:
        hint = 'Use "constant_with_warmup" or drop lr_warmup_steps.'
        raise refused("lr_warmup_steps", f"schedule {name!r} has no warm-up.", hint)
    if name == "piecewise_constant":
        rules = keyword_arguments(args.lr_scheduler_args).get("step_rules")
        if not rules:
            hint = """Example: ["step_rules='1:500,0.1'"]."""
            raise refused("lr_scheduler_args", "piecewise_constant needs step_rules.", hint)
        return _pieces(str(rules))
    if name == "cosine_with_min_lr" and args.lr_scheduler_min_lr_ratio is None:
        raise refused("lr_scheduler_min_lr_ratio", f"must be set for {name}.")
    if name == "warmup_stable_decay":
        return _stable(args, total, warmup, decay)
    rest = _after_warmup(args, name, total, warmup)
    return lambda step: step / max(1, warmup) if step < warmup else rest(step)


def _steps(value: float | None, total: int) -> int:
    return int(value * total) if isinstance(value, float) else int(value or 0)


def _wave(progress: float, cycles: float = 1.0, low: float = 0.0) -> float:
    """Half a cosine down from 1 for every cycle."""
    return max(0.0, 0.5 * (1 + math.cos(math.pi * cycles * progress)) * (1 - low) + low)


def _after_warmup(args: argparse.Namespace, name: str, total: int, warmup: int) -> Factor:
    if name == "polynomial":
        return _polynomial(args, total, warmup)
    length = max(1, total - warmup)
    cycles, low = args.lr_scheduler_num_cycles, args.lr_scheduler_min_lr_ratio or 0.0
    scale = args.lr_scheduler_timescale or warmup or 10_000

    def restarts(progress: float) -> float:
        return 0.0 if progress >= 1 else _wave(cycles * progress % 1.0)

    shapes: dict[str, Factor] = {
        "linear": lambda step: max(0.0, (total - step) / length),
        "cosine": lambda step: _wave((step - warmup) / length),
        "cosine_with_restarts": lambda step: restarts((step - warmup) / length),
        "cosine_with_min_lr": lambda step: _wave((step - warmup) / length, cycles, low),
        "inverse_sqrt": lambda step: 1.0 / math.sqrt((step + scale - warmup) / scale),
    }
    return shapes.get(name, lambda _step: 1.0)


def _polynomial(args: argparse.Namespace, total: int, warmup: int) -> Factor:
    first, last = float(args.learning_rate), 1e-7
    power = float(args.lr_scheduler_power)
    if first <= last:
        raise refused("learning_rate", f"polynomial ends at {last:g} and must begin above it.")

    def factor(step: int) -> float:
        left = max(0.0, 1 - (step - warmup) / max(1, total - warmup))
        return float((first - last) * left**power + last) / first

    return factor


def _stable(args: argparse.Namespace, total: int, warmup: int, decay: int) -> Factor:
    low = args.lr_scheduler_min_lr_ratio or 0.0
    stable = total - warmup - decay
    cycles = args.lr_scheduler_num_cycles

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup) * (1 - low) + low
        if step < warmup + stable:
            return 1.0
        return _wave((step - warmup - stable) / max(1, decay), cycles, low) if step < total else low

    return factor


def _pieces(rules: str) -> Factor:
    """`1:10,0.1:20,0.01`: a factor up to each step, and the last one from then on."""
    *steps, last = rules.split(",")
    parts = [rule.partition(":") for rule in steps]
    bounds = sorted((int(until), float(value)) for value, _, until in parts)
    return lambda step: next((value for until, value in bounds if step < until), float(last))
