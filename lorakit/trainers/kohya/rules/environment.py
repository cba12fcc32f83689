"""What only the trainer's own environment can say: its optimisers, schedules and networks of
others. Asked where a recipe names one or hands it arguments; never for a plain recipe.
"""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.recipe.options import Options
from lorakit.trainers.kohya.locate import HOME
from lorakit.trainers.kohya.rules.learning import optimizer
from lorakit.trainers.optimisers import LOWER, cannot, optimizer_name
from lorakit.trainers.rule import Case, Finder
from lorakit.trainers.signatures import (
    Environment,
    Wanted,
    asks_something,
    class_faults,
    import_fault,
    unasked,
)

_BITSANDBYTES = ("AdamW8bit", "Lion8bit", "PagedAdamW8bit", "PagedLion8bit", "PagedAdamW")
_DADAPTATION = ("DAdaptAdaGrad", "DAdaptAdam", "DAdaptAdan", "DAdaptLion", "DAdaptSGD")
_SCHEDULE_FREE = ("RAdamScheduleFree", "AdamWScheduleFree", "SGDScheduleFree")
# train_util.get_optimizer, which compares names in lower case
CLASSES = {
    "adamw": "torch.optim.AdamW",
    "lion": "lion_pytorch.Lion",
    "sgdnesterov": "torch.optim.SGD",
    "sgdnesterov8bit": "bitsandbytes.optim.SGD8bit",
    "prodigy": "prodigyopt.Prodigy",
    "adafactor": "transformers.optimization.Adafactor",
    "dadaptation": "dadaptation.experimental.DAdaptAdamPreprint",
    "dadaptadampreprint": "dadaptation.experimental.DAdaptAdamPreprint",
    "dadaptadanip": "dadaptation.experimental.DAdaptAdanIP",
    **{name.lower(): f"dadaptation.{name}" for name in _DADAPTATION},
    **{name.lower(): f"schedulefree.{name}" for name in _SCHEDULE_FREE},
    **{name.lower(): f"bitsandbytes.optim.{name}" for name in (*_BITSANDBYTES, "PagedAdamW32bit")},
}
SCHEDULES = "torch.optim.lr_scheduler"


def environment(case: Options) -> Environment | None:
    located = HOME.known()
    if located is None:
        return None
    own = case.said("launch", "python")
    python = case.resolved.path_of(own) if isinstance(own, str) and own else located.python
    return Environment(python, located.directory)


def optimizer_class(case: Case) -> Iterator[Fault]:
    name, low, where = case.text("optimizer_type"), optimizer(case), environment(case)
    known = low in LOWER
    dotted = CLASSES.get(low) or (name if "." in name else f"torch.optim.{name}")
    asks = where is not None and cannot(name) is None and asks_something(case, known=known)
    if where is None or not asks or where.ask(dotted.rpartition(".")[0]) is None:
        yield from optimizer_name(case)  # what is known without asking
    if where is not None and asks:
        given = ("lr", "nesterov") if low.startswith("sgdnesterov") else ("lr",)
        wanted = Wanted(dotted, "optimizer_type", "optimizer_args", given, "optimiser")
        yield from class_faults(case, where, wanted)


def schedule_class(case: Case) -> Iterator[Fault]:
    name, where = case.text("lr_scheduler_type"), environment(case)
    free = optimizer(case).endswith("schedulefree")  # then the script never looks at the schedule
    if name and where is not None and not free:
        dotted = name if "." in name else f"{SCHEDULES}.{name}"
        wanted = Wanted(dotted, "lr_scheduler_type", "lr_scheduler_args", (), "schedule")
        yield from class_faults(case, where, wanted)


def foreign_network(case: Case) -> Iterator[Fault]:
    """A network module that is no part of sd-scripts."""
    name, where = case.network_module, environment(case)
    if name.startswith("networks."):
        return
    if where is None:
        what = f"{name} is not part of sd-scripts; its package must be installed in the trainer's"
        what += " environment."
        yield case.fault("network_module", what, "", "network-foreign", "warning")
        return
    answer = where.ask(name)
    if answer is None:
        yield unasked(case, "network_module", where, name)
    elif "error" in answer:
        yield import_fault(case, "network_module", where, name, answer)
    elif "create_network" not in answer["functions"]:
        what = f"{name} has no create_network, which the script calls."
        yield case.fault("network_module", what, "", "network-module")


RULES: tuple[Finder, ...] = (optimizer_class, schedule_class, foreign_network)
