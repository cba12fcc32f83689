"""Whole runs of a stand-in that says, writes and keeps silent as musubi-tuner does: trained, failed, stopped, resumed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import Popen

import pytest
from plan_cases import folder, weights
from plans_by_hand import FAKES

from lorakit.cli.main import main
from lorakit.runs.find import run_dirs
from lorakit.runs.record import Record, read_record
from lorakit.weights.safetensors import read_header

pytestmark = pytest.mark.slow  # accelerate's launcher takes seconds

RECIPE = """
family = "zimage"
name = "fox"
trigger = "fox"
[model]
base = "models/base.safetensors"
vae = "models/vae.safetensors"
text_encoder = "models/text.safetensors"
[dataset]
path = "datasets/fox"
[train]
resolution = "64"
network_dim = 4
network_alpha = 4
learning_rate = 1e-3
optimizer_type = "AdamW"
max_train_steps = 12
save_every_n_steps = 4
save_every_n_epochs = 1
save_state = true
max_data_loader_n_workers = 0
[launch]
env = { PAUSE = "0" }
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORAKIT_MUSUBI", str(FAKES / "musubi_tuner"))
    monkeypatch.setenv("LORAKIT_MUSUBI_PYTHON", sys.executable)
    folder(tmp_path / "datasets/fox/2_fox", [(64, 64), (64, 64), (64, 96)])
    for name in ("base", "vae", "text"):
        weights(tmp_path / f"models/{name}.safetensors", {"layer.weight": ("BF16", (4, 4))})
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/fox.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def at_once(python_at_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without accelerate's launcher, which is part of the first test."""
    monkeypatch.setenv("LORAKIT_MUSUBI_PYTHON", str(python_at_once))


def lorakit(*words: str) -> int:
    return main([*words])


def the_run(root: Path) -> tuple[Path, Record]:
    (place,) = run_dirs(root)
    return place, read_record(place)


def saved(place: Path) -> set[str]:
    return {path.name for path in (place / "output").iterdir()} - {"trained.txt", "sample"}


def planned(record: Record) -> set[str]:
    return {one.name for one in record.steps.checkpoints}


def test_three_commands_end_in_the_planned_files(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.glob("datasets/**/*.*")}
    assert lorakit("train", "recipes/fox.toml") == 0
    place, record = the_run(root)
    assert [one.state for one in record.commands] == ["done", "done", "done"]
    assert (record.state, record.outcome.step, record.steps.per_epoch) == ("done", 12, 6)
    assert saved(place) == planned(record)
    assert not [one.fault for one in record.states if one.fault]
    assert {one.path: one.step for one in record.states} == {
        "output/fox-000001-state": 6,
        "output/fox-step00000004-state": 4,
        "output/fox-step00000008-state": 8,
        "output/fox-step00000012-state": 12,
        "output/fox-state": 12,
    }
    assert {path: path.read_bytes() for path in root.glob("datasets/**/*.*")} == before


@pytest.mark.usefixtures("at_once")
def test_a_training_of_nan_has_failed_although_its_exit_code_is_0(root: Path) -> None:
    assert lorakit("train", "recipes/fox.toml", "--past-nan", "--set", "learning_rate=1e30") == 4
    _, record = the_run(root)
    assert (record.state, record.outcome.nan) == ("failed", True)


def test_missing_weights_name_the_command_that_fails(root: Path) -> None:
    (root / "models/vae.safetensors").unlink()
    assert lorakit("train", "recipes/fox.toml") == 1  # the plan sees it
    assert not run_dirs(root)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("last", "begins"), [("7", 6), pytest.param("5", 4, marks=pytest.mark.long)]
)
def test_cut_off_and_resumed_its_files_have_the_planned_names(
    root: Path, last: str, begins: int
) -> None:
    recipe = root / "recipes/fox.toml"
    recipe.write_text(RECIPE.replace("PAUSE", f'DIE_AFTER = "{last}", PAUSE'))
    assert lorakit("train", "recipes/fox.toml") == 4
    recipe.write_text(RECIPE)
    (root / "datasets/fox/2_fox/001.txt").write_text("fox, edited meanwhile")
    assert lorakit("resume", "fox", "--anyway") == 0
    place, record = the_run(root)
    assert (record.state, record.outcome.step, record.part.from_step) == ("done", 12, begins)
    assert [one.state for one in record.commands] == ["skipped", "done", "done"]
    assert saved(place) == planned(record)
    epoch = read_header(place / "output/fox-000001.safetensors")
    assert epoch.steps == {6: 6, 4: 10}[begins]  # inside an epoch it begins again, as was said
    for name, step in {"fox-step00000008": 8, "fox-step00000012": 12, "fox": 12}.items():
        header = read_header(place / "output" / f"{name}.safetensors")
        assert header.steps == step
        assert header.metadata["ss_max_train_steps"] == "12"
    state = json.loads((place / "output/fox-step00000008-state/train_state.json").read_text())
    assert state["current_step"] == 8
    trained = (place / "parts/2/output/trained.txt").read_text()
    assert "picture 1" not in trained  # its old caption
    assert trained.count("edited meanwhile") == {6: 2, 4: 3}[begins]


@pytest.mark.usefixtures("at_once")
def test_stop_waits_for_a_state_and_resume_goes_on_from_it(root: Path) -> None:
    recipe = root / "recipes/fox.toml"
    recipe.write_text(RECIPE.replace('PAUSE = "0"', 'PAUSE = "0.3"'))
    running = Popen([sys.executable, "-m", "lorakit", "train", str(recipe)], env={**os.environ})
    while not list(root.glob("runs/fox/*/output/fox-step00000004.safetensors")):
        assert running.poll() is None
    assert lorakit("stop", "fox") == 0
    running.wait()
    _, record = the_run(root)
    assert record.state == "stopped"
    assert record.outcome.step is not None
    assert record.outcome.step < 12
    assert lorakit("resume", "fox") == 0
    place, record = the_run(root)
    assert (record.state, record.outcome.step) == ("done", 12)
    assert saved(place) == planned(record)
