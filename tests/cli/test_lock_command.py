"""lorakit lock: what it writes, what it says has changed, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plan_cases import folder, sd15_base

from lorakit.cli.main import main

RECIPE = """
name = "maya"
trigger = "maya_char"
family = "sd15"
trainer = "embedded"
[model]
base = "base.safetensors"
[dataset]
path = "data"
[train]
network_dim = 8
learning_rate = 1e-4
max_train_epochs = 2
optimizer_type = "AdamW"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512)] * 3)
    path = tmp_path / "recipes" / "maya.toml"
    path.parent.mkdir()
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_lock_is_written_and_a_second_one_says_that_nothing_changed(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", str(recipe)]) == 0
    lock = recipe.with_name("maya.lock.toml")
    assert f"wrote {lock}: 3 images, 1 file of weights, " in capsys.readouterr().err
    before = lock.read_bytes()
    assert main(["lock", str(recipe)]) == 0
    assert "Nothing changed since the old lock." in capsys.readouterr().err
    assert lock.read_bytes() == before


def test_a_dry_run_names_the_changes_and_leaves_the_lock(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", str(recipe)]) == 0
    before = recipe.with_name("maya.lock.toml").read_bytes()
    (recipe.parents[1] / "data/10_maya_char/000.txt").write_text("maya_char, waving\n")
    capsys.readouterr()
    assert main(["lock", str(recipe), "--dry-run", "--set", "network_dim=16"]) == 0
    said = capsys.readouterr()
    assert "network_dim" in said.out
    assert "dataset" in said.out
    assert "wrote" not in said.err
    assert recipe.with_name("maya.lock.toml").read_bytes() == before


def test_the_json_is_the_lock(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lock", str(recipe), "--json", "--dry-run"]) == 0
    lock = json.loads(capsys.readouterr().out)
    assert (lock["dataset"]["images"], lock["options"]["network_dim"]) == (3, 8)
    assert not recipe.with_name("maya.lock.toml").exists()


def test_a_recipe_with_a_fault_is_not_locked(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", str(recipe), "--set", "netwrok_dim=4"]) == 1
    assert "Did you mean network_dim?" in capsys.readouterr().err
    assert not recipe.with_name("maya.lock.toml").exists()
