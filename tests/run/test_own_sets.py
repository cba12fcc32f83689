"""What was said on the command line of a run is part of it: remedies keep it, a lock remembers it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, sd15_base

from lorakit.cli.main import main
from lorakit.events import silent
from lorakit.plan.model import Plan
from lorakit.run.diagnose import with_own_sets
from lorakit.run.train import train
from lorakit.runs.outcome import Outcome
from lorakit.runs.ran_from import TrainerUsed
from lorakit.runs.record import Record, read_record
from lorakit.trainers.signatures import package_of

FAILED = Record(
    state="failed",
    recipe="recipes/fox.toml",
    sets=("network_dim=16", "train.learning_rate=1e-4", "sample.prompts=[]"),
    unsets=("xformers",),
)
OWN = (
    "--set network_dim=16 --set train.learning_rate=1e-4 --set 'sample.prompts=[]' --unset xformers"
)


@pytest.mark.parametrize(
    ("remedy", "kept"),
    [
        ("lorakit train recipes/fox.toml", f"lorakit train recipes/fox.toml {OWN}"),
        ("lorakit plan recipes/fox.toml", f"lorakit plan recipes/fox.toml {OWN}"),
        (
            "lorakit train recipes/fox.toml --set learning_rate=5e-5",
            f"lorakit train recipes/fox.toml {OWN} --set learning_rate=5e-5".replace(
                " --set train.learning_rate=1e-4", ""
            ),
        ),
        (
            "lorakit train recipes/fox.toml --unset network_dim",
            f"lorakit train recipes/fox.toml {OWN} --unset network_dim".replace(
                " --set network_dim=16", ""
            ),
        ),
        (
            "df -h . && lorakit plan recipes/fox.toml",
            f"df -h . && lorakit plan recipes/fox.toml {OWN}",
        ),
        ("nvidia-smi", "nvidia-smi"),
        ("lorakit dataset check recipes/fox.toml", "lorakit dataset check recipes/fox.toml"),
    ],
)
def test_a_remedy_keeps_what_the_run_was_told(remedy: str, kept: str) -> None:
    assert with_own_sets(remedy, FAILED) == kept


def test_a_failed_run_has_its_own_sets_in_record_and_remedy(make_plan: Any) -> None:
    plan: Plan = make_plan("out_of_memory.py")
    said = ("network_dim=16", "wandb_api_key=hush", 'launch.env={A="secret"}')
    plan = replace(plan, resolved=replace(plan.resolved, sets=said))
    outcome = train(plan, emit=silent)
    assert read_record(plan.run_dir).sets == ("network_dim=16",)
    assert outcome.ending.diagnosis is not None
    assert "--set network_dim=16 --set train_batch_size=1" in outcome.ending.diagnosis.remedy
    text = (plan.run_dir / "record.json").read_text(encoding="utf-8")
    assert "hush" not in text
    assert "secret" not in text


def test_a_package_is_installed_under_its_own_name_with_the_trainers_python(make_plan: Any) -> None:
    assert package_of("lycoris") == "lycoris-lora"
    record = replace(FAILED, trainer=TrainerUsed(python="/opt/my env/bin/python"))
    outcome = Outcome(Path("runs/fox/1"), record)
    from lorakit.run.diagnose import diagnose

    found = diagnose(["ModuleNotFoundError: No module named 'lycoris.kohya'"], outcome)
    assert found.remedy == "'/opt/my env/bin/python' -m pip install lycoris-lora"


RECIPE = """
family = "sd15"
name = "maya"
trainer = "embedded"
[model]
base = "base.safetensors"
[dataset]
path = "data"
[train]
resolution = "512,512"
enable_bucket = true
max_train_epochs = 2
lr_scheduler = "cosine"
learning_rate = 1e-4
network_dim = 8
network_alpha = 4
sdpa = true
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512)] * 3)
    path = tmp_path / "recipes" / "maya.toml"
    path.parent.mkdir()
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_lock_made_with_sets_verifies(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "network_dim=16", "--set", "train.max_train_epochs=3", "--unset", "sdpa"]
    assert main(["lock", str(recipe), *words]) == 0
    lock = recipe.with_name("maya.lock.toml")
    assert main(["verify", str(lock)]) == 0, capsys.readouterr()
    recipe.write_text(RECIPE.replace("network_alpha = 4", "network_alpha = 2"), encoding="utf-8")
    assert main(["verify", str(lock)]) == 1
    assert "network_alpha" in capsys.readouterr().out


def test_sets_of_a_lock_that_are_nonsense_are_an_error(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lock", str(recipe), "--set", "network_dim=16"])
    lock = recipe.with_name("maya.lock.toml")
    text = lock.read_text(encoding="utf-8")
    assert 'sets = ["network_dim=16"]' in text
    lock.write_text(text.replace('["network_dim=16"]', "7"), encoding="utf-8")
    assert main(["verify", str(lock)]) == 1
    assert "Was it edited by hand?" in capsys.readouterr().err


def test_one_setting_gets_one_advice(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never "set AdamW" beside "install bitsandbytes"."""
    monkeypatch.setattr("lorakit.plan.run_checks.lacks", lambda *_: True)
    words = ["plan", str(recipe), "--set", "trainer=kohya", "--set", "optimizer_type=AdamW8bit"]
    main([*words, "--json"])
    faults = json.loads(capsys.readouterr().out)["faults"]
    about = [one for one in faults if one["key"] == "optimizer_type"]
    assert len(about) == 1


def test_the_written_command_finds_its_tokenizers(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("embedded", "kohya"), encoding="utf-8")
    assert main(["plan", str(recipe), "--write", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "train.toml").read_text(encoding="utf-8")
    place = Path(text.partition('tokenizer_cache_dir = "')[2].partition('"')[0])
    assert (place / "openai_clip-vit-large-patch14" / "merges.txt").is_file()
