"""Lock, verify and diff, over runs of the stand-in trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.errors import LorakitError, RecipeError
from lorakit.plan.model import Plan
from lorakit.proof import lock
from lorakit.proof.compare import Difference, differences
from lorakit.proof.pair import compare_runs
from lorakit.proof.verify import verify_run
from lorakit.recipe.model import Setting
from lorakit.run.train import train
from lorakit.trainers.base import Command
from lorakit.weights.reference import WeightFile

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(make_plan: MakePlan, project: Path) -> Plan:
    base = project / "models" / "base.safetensors"
    base.parent.mkdir()
    base.write_bytes(b"weights")
    made = make_plan(
        train={"network_dim": 16, "text_encoder_lr": [5e-5], "metadata_title": 'a "quoted"\ttitle'}
    )
    return replace(
        made,
        settings=made.resolved.train,
        weights=(WeightFile("pretrained_model_name_or_path", "models/base.safetensors", base),),
    )


@pytest.fixture
def locked(plan: Plan) -> Path:
    path = lock.lock_path(plan.resolved.file)
    path.write_text(lock.text_of(lock.lock_of(plan)))
    return path


def test_a_lock_of_the_same_inputs_has_no_difference(plan: Plan, locked: Path) -> None:
    assert lock.compare_locks(lock.read_lock(locked), lock.lock_of(plan)) == ([], [])
    assert lock.require_locked(plan) == []


def test_a_lock_says_nothing_of_this_machines_folders(
    plan: Plan, locked: Path, project: Path
) -> None:
    assert str(project) not in locked.read_text()


def test_every_changed_input_is_named_and_nothing_starts(
    plan: Plan, locked: Path, project: Path
) -> None:
    folder = project / "datasets" / "fox" / "10_fox"
    (folder / "a.txt").write_text("fox, in the rain\n")
    (project / "models" / "base.safetensors").write_bytes(b"other")
    changed = replace(
        plan,
        settings={**plan.settings, "network_dim": replace(plan.settings["network_dim"], value=8)},
    )
    with pytest.raises(RecipeError, match="nothing was started") as raised:
        lock.require_locked(changed)
    named = [fault.what.split(":")[0] for fault in raised.value.faults]
    assert named == [
        "options.network_dim",
        "weights.pretrained_model_name_or_path.sha256",
        "dataset.files.10_fox/a.png (caption)",
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("version = [", "cannot be read"),
        ("version = 9", "version 9"),
        ("version = 1\ndataset = 3", "not a table"),
    ],
)
def test_a_lock_edited_into_nonsense_is_a_clear_error(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "x.lock.toml").write_text(text)
    with pytest.raises(LorakitError, match=word):
        lock.read_lock(tmp_path / "x.lock.toml")


def test_a_missing_lock_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lorakit lock"):
        lock.read_lock(tmp_path / "x.lock.toml")


def test_a_finished_run_verifies_and_every_later_change_is_named(plan: Plan, project: Path) -> None:
    assert train(plan).state == "done"
    assert verify_run(plan.run_dir) == []
    (plan.run_dir / "train.toml").write_text("learning_rate = 2\n")
    (project / "models" / "base.safetensors").write_bytes(b"other")
    (project / "datasets" / "fox" / "10_fox" / "a.txt").write_text("fox, in the rain\n")
    lora = plan.run_dir / "output" / "fox.safetensors"
    lora.write_bytes(lora.read_bytes()[:-1] + b"\x01")
    assert [one.key.split("/")[-1] for one in verify_run(plan.run_dir)] == [
        "train.toml",
        "base.safetensors",
        "a.png (caption)",
        "fox.safetensors",
    ]
    lora.unlink()
    (plan.run_dir / "dataset.json").unlink()
    *_, dataset, gone = map(str, verify_run(plan.run_dir))
    assert dataset == "dataset: there is no dataset.json, for the run ended before it was written"
    assert gone.endswith(" is gone")


def test_two_runs_that_differ_in_one_caption_differ_in_just_that(
    plan: Plan, project: Path, make_plan: MakePlan
) -> None:
    train(plan)
    (project / "datasets" / "fox" / "10_fox" / "a.txt").write_text("fox, in the rain\n")
    other = replace(
        plan,
        run_dir=plan.run_dir.with_name("20260102-120000"),
        commands=(
            Command(
                tuple(
                    word.replace(str(plan.run_dir), str(plan.run_dir.with_name("20260102-120000")))
                    for word in plan.argv
                )
            ),
        ),
    )
    train(other)
    found = compare_runs(plan.run_dir, other.run_dir)
    assert found["data"] == [
        Difference("10_fox/a.png.caption", "fox, in the snow", "fox, in the rain")
    ]
    assert found["settings"] == found["weights"] == found["versions"] == []


@pytest.mark.parametrize("option", ["tokenizer_cache_dir", "train_data_dir", "logging_dir"])
def test_folders_of_two_machines_are_no_difference_between_runs(plan: Plan, option: str) -> None:
    dirs = [plan.run_dir, plan.run_dir.with_name("20260102-120000")]
    for folder in dirs:
        settings = {**plan.settings, option: Setting(f"/home/{folder.name}/x", "plan: a folder")}
        words = tuple(word.replace(str(plan.run_dir), str(folder)) for word in plan.argv)
        train(replace(plan, run_dir=folder, commands=(Command(words),), settings=settings))
    assert compare_runs(*dirs)["settings"] == []


def test_the_commands_say_it_in_words(
    plan: Plan, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    train(plan)
    assert main(["verify", "latest"]) == 0
    assert "everything is what its record says" in capsys.readouterr().err
    assert main(["diff", "latest", "fox", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found.pop("curves")["losses_equal"], any(found.values())) == (4, False)
    (plan.run_dir / "output" / "fox.safetensors").unlink()
    assert main(["verify", "latest"]) == 1
    assert "fox.safetensors" in capsys.readouterr().out


def test_a_finished_run_gives_its_outputs_to_the_lock(plan: Plan) -> None:
    train(plan)
    from lorakit.runs.record import read_record

    made = lock.outputs_of(read_record(plan.run_dir))
    assert list(made) == ["fox.safetensors"]
    assert len(made["fox.safetensors"]["tensors_sha256"]) == 64


def test_numbers_are_compared_as_numbers_and_flags_as_flags() -> None:
    assert differences({"a": 1, "b": {"c": True}}, {"a": 1.0, "b": {"c": 1}}) == [
        Difference("b.c", True, 1)
    ]
