"""The learning rates of a whole run, for the part of it that is still to be made.

lorakit copies this file into parts/N of a resumed run, where musubi-tuner's own Python imports it.
It asks musubi-tuner itself, with the settings of the whole run; the state then says how far it was.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any


def whole_run(optimizer: Any, total: int) -> Any:
    """What lr_scheduler_type names; `total` comes from lr_scheduler_args."""
    import toml

    base = import_module("musubi_tuner.training.trainer_base").NetworkTrainer
    common = import_module("musubi_tuner.training.parser_common")
    args = common.setup_parser_common().parse_args([])
    vars(args).update(toml.load(Path(__file__).parents[2] / "train.toml"))
    args.max_train_steps = total
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return base.get_lr_scheduler(base.__new__(base), args, optimizer, processes)
