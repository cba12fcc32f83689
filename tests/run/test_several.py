"""Two processes and two machines for real: the launcher, gloo and the embedded trainer at toy size, on the CPU, through `lorakit train`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
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

from lorakit.weights.finite import inspect

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
LONG = "max_train_epochs=40"  # 200 steps


@pytest.fixture
def recipe(tmp_path: Path, own_home: Path) -> Path:
    from PIL import Image
    from tiny_bases import make_tiny

    poison(own_home)
    make_tiny("sd15", tmp_path / "tiny")
    folder = tmp_path / "data" / "2_zwx"
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue", "yellow", "purple")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"zwx, a {colour} wall", encoding="utf-8")
    file = tmp_path / "fox.toml"
    file.write_text(RECIPE, encoding="utf-8")
    return file


def test_two_processes_share_the_steps_as_planned_and_write_one_lora(recipe: Path) -> None:
    codes, told = end(start(recipe, "processes=2"))
    assert codes == [0], told
    (record,) = records(recipe)
    assert record["steps"]["processes"] == 2
    assert (
        total_printed(recipe, record) == record["steps"]["total"] == 10
    )  # 5 pictures x 2 repeats x 2 epochs, halved
    assert (record["state"], record["outcome"]["step"], record["outcome"]["judged_by"]) == (
        "done",
        10,
        "files",
    )
    assert [
        Path(entry["path"]).name for entry in record["checkpoints"] if entry["kind"] == "final"
    ] == ["fox.safetensors"]


def test_two_machines_train_one_lora_and_the_second_is_judged_by_its_exit_code(
    recipe: Path,
) -> None:
    codes, told = end(*start_machines(recipe))
    assert codes == [0, 0], told
    first, second = records(recipe)
    assert [one["machine"] for one in (first, second)] == [
        {"rank": 0, "of": 2},
        {"rank": 1, "of": 2},
    ]
    assert (first["state"], first["outcome"]["judged_by"], first["outcome"]["step"]) == (
        "done",
        "files",
        10,
    )
    assert (second["state"], second["outcome"]["judged_by"], second["outcome"]["step"]) == (
        "done",
        "exit code",
        10,
    )
    assert total_printed(recipe, first) == first["steps"]["total"] == second["steps"]["total"] == 10
    assert (folder_of(recipe, first) / "output" / "fox.safetensors").is_file()
    assert not list(folder_of(recipe, second).rglob("*.safetensors"))
    assert second["outcome"]["lora"] is None
    assert "This machine (rank 1) did its part: 10 steps" in told[1]


@pytest.mark.long
def test_a_stop_on_one_machine_ends_all_after_the_same_step_and_each_goes_on_from_its_own_state(
    recipe: Path,
) -> None:
    machines = start_machines(recipe, LONG)
    second = at_step(recipe, 3, *machines)[1]
    asked = lorakit("stop", str(folder_of(recipe, second)))
    codes, told = end(*machines, asked)
    assert codes == [130, 130, 0], told
    first, second = records(recipe)
    step = first["outcome"]["step"]
    assert (first["state"], second["state"]) == ("interrupted", "stopped")
    assert 3 <= step == second["outcome"]["step"] < 200
    assert (
        f"Stopped together with the other machines at step {step} of 200. Saved: fox-step{step:08d}.safetensors, fox-step{step:08d}-state"
        in told[0]
    )
    assert f"Stopped on request at step {step} of 200. Saved: fox-step{step:08d}-state" in told[1]
    assert f"Saved: output/fox-step{step:08d}-state" in told[2]
    assert not list((folder_of(recipe, second) / "output").glob("*.safetensors"))

    codes, told = end(*(lorakit("resume", str(folder_of(recipe, one))) for one in (first, second)))
    assert codes == [0, 0], told
    assert all("the other machines must go on too" in text for text in told)
    for one in records(recipe):
        assert (one["state"], one["outcome"]["step"], one["parts"][0]["from_step"]) == (
            "done",
            200,
            step,
        )
    assert not list((folder_of(recipe, second) / "output").glob("*.safetensors"))

    codes, told = end(
        start(recipe, "processes=2", LONG)
    )  # two processes of one machine, left in peace
    assert codes == [0], told
    loras = [inspect(path) for path in recipe.parent.glob("runs/fox/*/output/fox.safetensors")]
    assert len(loras) == 2
    assert loras[0].tensors_sha256 == loras[1].tensors_sha256


def test_a_machine_that_dies_is_told_as_the_cause_on_the_others_and_states_of_different_steps_are_refused(
    recipe: Path,
) -> None:
    machines = start_machines(recipe, LONG, "save_every_n_steps=10", "save_state=true")
    second = at_step(recipe, 11, *machines)[1]
    for process in living(second):
        os.kill(process.pid, signal.SIGKILL)
    codes, told = end(*machines)
    assert codes == [4, 4], told
    assert "another process of this run ended, here or on another machine" in told[0]
    assert "killed from outside" in told[1]

    first, second = records(recipe)
    newest = max((folder_of(recipe, second) / "output").glob("*-state"))
    step = int(newest.name[-14:-6])
    older = newest.rename(newest.with_name(f"fox-step{step - 1:08d}-state"))
    facts = json.loads((older / "train_state.json").read_text(encoding="utf-8"))
    (older / "train_state.json").write_text(
        json.dumps({**facts, "current_step": step - 1}), encoding="utf-8"
    )
    codes, told = end(*(lorakit("resume", str(folder_of(recipe, one))) for one in (first, second)))
    assert codes == [4, 4], told
    assert all("newest states are from different steps" in text for text in told)
