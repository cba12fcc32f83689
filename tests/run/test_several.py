"""Two processes and two machines for real: the launcher, gloo and the embedded trainer at toy size, on the CPU, through `lorakit train`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

RECIPE = """
family = "sd15"
trainer = "embedded"
name = "fox"
trigger = "zwx"
[model]
base = "tiny"
[dataset]
path = "data"
[train]
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
resolution = "64"
max_train_epochs = 2
mixed_precision = "no"
network_train_unet_only = true
max_data_loader_n_workers = 0
seed = 7
[launch]
num_cpu_threads = 1
"""
POISON = """
compute_environment: LOCAL_MACHINE
distributed_type: 'FSDP'
machine_rank: 3
main_process_ip: 192.0.2.1
main_process_port: 1
mixed_precision: fp16
num_machines: 5
num_processes: 35
use_cpu: false
"""


@pytest.fixture
def place(tmp_path: Path, own_home: Path) -> Path:
    """A project, in a home whose accelerate configuration would ruin every launch that reads it."""
    from PIL import Image

    from lorakit.trainers.embedded.models.tiny import make_tiny

    config = own_home / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(POISON, encoding="utf-8")
    make_tiny("sd15", tmp_path / "tiny")
    folder = tmp_path / "data" / "2_zwx"
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue", "yellow", "purple")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"zwx, a {colour} wall", encoding="utf-8")
    (tmp_path / "fox.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def start(place: Path, *sets: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "lorakit", "train", str(place / "fox.toml"), *(f"--set={one}" for one in sets)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"})


def records(place: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in place.glob("runs/fox/*/record.json")]
    return sorted(found, key=lambda record: record["machine"]["rank"])


def folder_of(place: Path, record: dict[str, Any]) -> Path:
    return place / "runs" / str(record["run"])


def total_printed(place: Path, record: dict[str, Any]) -> int:
    log = (folder_of(place, record) / "log.txt").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"total optimization steps\b[^\n]*: (\d+)", log)
    assert found, log[-2000:]
    return int(found[1])


def test_two_processes_share_the_steps_as_planned_and_write_one_lora(place: Path) -> None:
    running = start(place, "processes=2")
    err = running.communicate(timeout=400)[1]
    assert running.returncode == 0, err
    record, = records(place)
    assert record["steps"]["processes"] == 2
    assert total_printed(place, record) == record["steps"]["total"] == 10        # 5 pictures x 2 repeats x 2 epochs, halved
    assert (record["state"], record["outcome"]["step"], record["outcome"]["judged_by"]) == ("done", 10, "files")
    assert [Path(entry["path"]).name for entry in record["checkpoints"] if entry["kind"] == "final"] == ["fox.safetensors"]


def test_two_machines_train_one_lora_and_the_second_is_judged_by_its_exit_code(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ("processes=2", "machines=2", "main_address=127.0.0.1", f"main_port={port}")
    machines = [start(place, *shared, f"machine_rank={rank}") for rank in (0, 1)]
    told = [machine.communicate(timeout=400)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    first, second = records(place)
    assert [one["machine"] for one in (first, second)] == [{"rank": 0, "of": 2}, {"rank": 1, "of": 2}]
    assert (first["state"], first["outcome"]["judged_by"], first["outcome"]["step"]) == ("done", "files", 10)
    assert (second["state"], second["outcome"]["judged_by"], second["outcome"]["step"]) == ("done", "exit code", 10)
    assert total_printed(place, first) == first["steps"]["total"] == second["steps"]["total"] == 10
    assert (folder_of(place, first) / "output" / "fox.safetensors").is_file()
    assert not list(folder_of(place, second).rglob("*.safetensors"))
    assert second["outcome"]["lora"] is None
    assert "This machine (rank 1) did its part: 10 steps" in told[1]
