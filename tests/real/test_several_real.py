"""Several processes under the launcher of the sd-scripts environment, on the CPU, by the plan's own command line.

The scripts themselves cannot be tried so: without cards accelerate wraps even frozen networks and stops (rule processes-without-cards).
A few lines that ask accelerate the same questions stand in for them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lorakit.machine import Machine
from lorakit.plan import argv
from lorakit.plan.write import accelerate_yaml
from lorakit.proc import ask
from lorakit.recipe.model import Resolved, Setting
from lorakit.trainers.kohya.locate import require

pytestmark = [pytest.mark.real, pytest.mark.slow]

POISON = "compute_environment: LOCAL_MACHINE\ndistributed_type: 'FSDP'\nmixed_precision: fp16\nnum_machines: 5\nnum_processes: 35\nmachine_rank: 3\n"
SCRIPT = """
import torch
from accelerate import Accelerator
from accelerate.utils import reduce
accelerator = Accelerator()
total = reduce(torch.tensor([1.0 + accelerator.process_index]), "sum").item()
print(f"[{accelerator.process_index} of {accelerator.num_processes} {accelerator.mixed_precision} {accelerator.device.type} {total}]", flush=True)
accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_the_scripts_own_launcher_starts_as_many_as_planned_whatever_the_home_directory_says(
    sd_scripts: Path, own_home: Path, tmp_path: Path,
) -> None:
    config = own_home / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(POISON, encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "accelerate.yaml").write_text(accelerate_yaml(processes=2, machines=1, rank=0, mixed_precision="no", cpu=True), encoding="utf-8")
    machine = Machine("Linux", "x86_64", 2, 8 << 30, ())
    said: dict[str, Any] = {"processes": 2, "num_cpu_threads": 1}
    resolved = Resolved(file=tmp_path / "r.toml", root=tmp_path, name="r", trigger="r", preset="", family="sd15", trainer="kohya",
                        launch={key: Setting(value, "recipe") for key, value in said.items()})
    launch = argv.launch_of(resolved, tmp_path, machine)
    words = argv.argv_for(resolved, launch, machine, python=require().python, script=script, run_dir=tmp_path)
    answer = ask(words, env={**os.environ, **argv.environment(resolved, launch, (), tmp_path)}, timeout_s=200)
    assert answer.code == 0, answer.err[-3000:]
    assert sorted(line for line in answer.out.splitlines() if line.startswith(("[0 ", "[1 "))) == ["[0 of 2 no cpu 3.0]", "[1 of 2 no cpu 3.0]"]
