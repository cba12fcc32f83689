"""Two processes of the real sd-scripts over gloo on the CPU, full-size random SD1.5 weights, through `lorakit train`. About 9 GB."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from drawn_images import draw

from lorakit.cli.main import main
from lorakit.machine import this_machine
from lorakit.rehearse import standin

pytestmark = [pytest.mark.real, pytest.mark.slow]

RECIPE = """
family = "sd15"
name = "ball"
trigger = "ball_char"
[model]
base = "{base}"
[dataset]
path = "data"
[train]
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
mixed_precision = "bf16"
resolution = "64"
max_train_epochs = 1
network_train_unet_only = true
cache_latents = true
sdpa = true
max_data_loader_n_workers = 0
seed = 5
[launch]
processes = 2
num_cpu_threads = 1
"""
POISON = "compute_environment: LOCAL_MACHINE\ndistributed_type: 'FSDP'\nmixed_precision: fp16\nnum_machines: 5\nnum_processes: 35\nmachine_rank: 3\n"


def test_two_processes_of_sd_scripts_halve_the_steps_and_write_one_lora(sd_scripts: Path, with_stand_ins: Path, own_home: Path, tmp_path: Path) -> None:
    if this_machine().accelerator != "cpu":
        pytest.skip("gloo on the CPU is what is tried here")
    config = own_home / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(POISON, encoding="utf-8")
    draw(tmp_path / "data" / "1_ball", [(64, 64)] * 4)
    recipe = tmp_path / "ball.toml"
    recipe.write_text(RECIPE.format(base=standin.stand_in("sd15")), encoding="utf-8")
    assert main(["train", str(recipe)]) == 0
    path, = tmp_path.glob("runs/ball/*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    log = (path.parent / "log.txt").read_text(encoding="utf-8", errors="replace")
    printed = re.search(r"total optimization steps\b[^\n]*: (\d+)", log)
    assert printed and int(printed[1]) == record["steps"]["total"] == 2          # 4 pictures, two at a time
    assert (record["state"], record["outcome"]["step"], record["steps"]["processes"]) == ("done", 2, 2)
    assert [one.name for one in (path.parent / "output").glob("*.safetensors")] == ["ball.safetensors"]
