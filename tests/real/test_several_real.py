"""Several processes and several machines of the real sd-scripts, really training: full-size random SD1.5 weights, gloo, this CPU.

The plan is the one for a machine with two cards (two_cards/nvidia-smi says so), through `lorakit train`, its files and its command line.
sd-scripts, accelerate and torch are as they are installed. One difference between CPU and cards is put right from outside, by a folder on
PYTHONPATH: two_cards/sitecustomize.py makes DistributedDataParallel hand back a module without trainable parameters, exactly as accelerate
does for cards. Without it accelerate would wrap the frozen U-Net on the CPU and stop (rule processes-without-cards).
"""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_images import draw
from launches import (
    at_step,
    end,
    folder_of,
    living,
    lorakit,
    poison,
    records,
    start,
    start_machines,
    total_printed,
)

from lorakit.rehearse import standin
from lorakit.report.series import read_scalars
from lorakit.runs.find import progress_rows

pytestmark = [pytest.mark.real, pytest.mark.slow]

TWO_CARDS = Path(__file__).parent / "two_cards"
RECIPE = """
family = "sd15"
name = "ball"
trigger = "ball_char"
[model]
base = "{base}"
[dataset]
path = "data"
[launch]
processes = 2
num_cpu_threads = 1
[train]
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
text_encoder_lr = 5e-4
lr_scheduler = "cosine"
mixed_precision = "no"
resolution = "64"
gradient_accumulation_steps = 2
max_train_epochs = 3
save_every_n_epochs = 1
save_every_n_steps = 3
save_state = true
cache_latents = true
sdpa = true
max_data_loader_n_workers = 0
seed = 5
"""
# 3 x 2 + 1 = 7 draws: 4 batches a process, 2 steps an epoch, 6 in all
FILES = [
    "ball-000001.safetensors",
    "ball-000002.safetensors",
    "ball-step00000003.safetensors",
    "ball-step00000006.safetensors",
    "ball.safetensors",
]


@pytest.fixture
def recipe(
    sd_scripts: Path,
    with_stand_ins: Path,
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    poison(own_home)
    monkeypatch.setenv("PATH", f"{TWO_CARDS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(TWO_CARDS))
    draw(tmp_path / "data" / "2_ball", [(64, 64)] * 3)
    draw(tmp_path / "data" / "1_toy", [(64, 64)], caption="toy, drawn")
    file = tmp_path / "ball.toml"
    file.write_text(RECIPE.format(base=standin.stand_in("sd15")), encoding="utf-8")
    return file


def test_two_processes_train_one_lora_as_planned(recipe: Path) -> None:
    prompts = 'sample.prompts=["a ball", "two balls"]'
    codes, told = end(
        start(
            recipe,
            prompts,
            "sample.every_n_epochs=3",
            "sample.width=64",
            "sample.height=64",
            "sample.steps=2",
        )
    )
    assert codes == [0], told
    (record,) = records(recipe)
    folder = folder_of(recipe, record)
    steps = record["steps"]
    assert (
        steps["processes"],
        steps["batches_per_process"],
        steps["per_epoch"],
        steps["total"],
    ) == (2, 4, 2, 6)
    assert total_printed(recipe, record) == 6
    assert (record["state"], record["outcome"]["step"], record["outcome"]["judged_by"]) == (
        "done",
        6,
        "files",
    )
    assert not living(record)

    planned = {entry["name"] for entry in steps["checkpoints"]}
    written = {path.name for path in (folder / "output").iterdir()} - {"sample"}
    assert written == planned
    assert sorted(name for name in written if name.endswith(".safetensors")) == FILES
    assert sorted(entry["path"] for entry in record["checkpoints"]) == [
        f"output/{name}" for name in FILES
    ]
    assert all(entry["sha256"] and entry["finite"] for entry in record["checkpoints"])
    assert {entry["prompt"] for entry in record["samples"]} == {0, 1}  # one drawn by each process

    log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert "loading model for process 0/2" in log
    assert "loading model for process 1/2" in log
    assert [row["step"] for row in progress_rows(folder)] == [1, 2, 3, 4, 5, 6]
    assert log.count("| 0/6 [00:00<?, ?it/s]") == 1  # the first process alone draws a bar
    assert len(list((folder / "logs").rglob("events.out.tfevents.*"))) == 1
    assert rates(folder) == cosine(6)

    tensors, metadata = opened(folder / "output" / "ball.safetensors")
    assert len(tensors) == 3 * 264
    assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_down" in name} == {4}
    assert sum(bool(tensor.any()) for name, tensor in tensors.items() if "lora_up" in name) > 200
    expected = {
        "ss_steps": "6",
        "ss_max_train_steps": "6",
        "ss_num_batches_per_epoch": str(steps["batches_per_process"]),
        "ss_num_epochs": "3",
        "ss_epoch": "3",
        "ss_gradient_accumulation_steps": "2",
        "ss_num_train_images": "7",
        "ss_seed": "5",
    }
    assert {key: metadata.get(key) for key in expected} == expected


def test_interrupted_both_processes_end_and_resumed_the_lora_is_whole(recipe: Path) -> None:
    running = start(recipe, "save_every_n_steps=2")
    (before,) = at_step(recipe, 3, running)
    assert len(living(before)) >= 3  # the launcher and two trainers
    running.send_signal(signal.SIGINT)
    codes, told = end(running)
    assert codes == [130], told
    (record,) = records(recipe)
    assert record["state"] == "interrupted"
    assert not living(before)
    assert "ball-000001-state" in {
        Path(entry["path"]).name for entry in record["states"] if not entry["fault"]
    }

    codes, told = end(lorakit("resume", str(folder_of(recipe, record))))
    assert codes == [0], told
    assert "the second and every further process draws noise and timesteps anew" in told[0]
    (record,) = records(recipe)
    assert (record["state"], record["outcome"]["step"]) == ("done", 6)
    assert not living(record)
    first, *others = sorted((folder_of(recipe, record) / "logs").iterdir())
    offset = record["parts"][0]["offset"]
    assert rates(first) | {
        step + offset: rate for folder in others for step, rate in rates(folder).items()
    } == cosine(6)


def test_two_machines_train_one_lora_and_the_second_is_judged_by_its_exit_code(
    recipe: Path,
) -> None:
    codes, told = end(*start_machines(recipe, "max_train_epochs=2"))
    assert codes == [0, 0], told
    first, second = records(recipe)
    assert [one["machine"] for one in (first, second)] == [
        {"rank": 0, "of": 2},
        {"rank": 1, "of": 2},
    ]
    assert total_printed(recipe, first) == first["steps"]["total"] == second["steps"]["total"] == 4
    assert (first["state"], first["outcome"]["judged_by"], first["outcome"]["step"]) == (
        "done",
        "files",
        4,
    )
    assert (second["state"], second["outcome"]["judged_by"], second["outcome"]["step"]) == (
        "done",
        "exit code",
        4,
    )
    assert [row["step"] for row in progress_rows(folder_of(recipe, second))] == [1, 2, 3, 4]
    planned = {entry["name"] for entry in first["steps"]["checkpoints"]}
    assert {path.name for path in (folder_of(recipe, first) / "output").iterdir()} == planned
    assert not list(folder_of(recipe, second).rglob("*.safetensors"))
    assert (second["checkpoints"], second["states"], second["outcome"]["lora"]) == ([], [], None)
    assert "This machine (rank 1) did its part: 4 steps" in told[1]


def rates(logs: Path) -> dict[int, Any]:
    return {step: pytest.approx(value, rel=1e-3) for step, value in read_scalars(logs)["lr/unet"]}


def cosine(total: int) -> dict[int, float]:
    return {step: 1e-3 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total + 1)}


def opened(lora: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(lora, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118  (not a dict)
