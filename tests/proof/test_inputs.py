"""A run goes on only from what it began with, or says what is no longer so."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.errors import RecipeError
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.proof.verify import require_same_inputs
from lorakit.run.train import train
from lorakit.runs.record import read_record
from lorakit.weights.reference import WeightFile


@pytest.fixture
def stopped(make_plan: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that was interrupted and has a state."""
    monkeypatch.chdir(project)
    base = project / "models" / "base.safetensors"
    base.parent.mkdir()
    base.write_bytes(b"weights")
    plan: Plan = make_plan("saves_when_asked.py", steps=100, pause=0.02, trainer="embedded")
    plan = replace(
        plan,
        weights=(WeightFile("pretrained_model_name_or_path", "models/base.safetensors", base),),
    )

    def report(event: Event) -> None:
        if event.kind == "step" and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    assert train(plan, emit=report).state == "interrupted"
    return plan


def change(project: Path) -> None:
    folder = project / "datasets" / "fox" / "10_fox"
    (folder / "a.txt").write_text("fox, in the rain\n")
    (folder / "b.png").write_bytes(PNG)
    (project / "models" / "base.safetensors").write_bytes(b"other")


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001000501"
    "27a35e4f0000000049454e44ae426082"
)


def test_the_same_inputs_need_no_remark(stopped: Plan) -> None:
    assert require_same_inputs(stopped.run_dir) == []


def test_every_changed_input_is_named_and_nothing_starts(
    stopped: Plan, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project)
    (stopped.run_dir / "train.toml").write_text("learning_rate = 2e-4\n")
    with pytest.raises(RecipeError, match="nothing was started") as raised:
        require_same_inputs(stopped.run_dir)
    named = [fault.what.split(":")[0].rsplit("/", 1)[-1] for fault in raised.value.faults]
    assert named == ["train.toml", "base.safetensors", "a.png (caption)", "b.png"]
    assert main(["resume"]) == 1
    said = capsys.readouterr().err
    assert "4 differences from what fox/20260101-120000 began with; nothing was started." in said
    assert said.endswith("lorakit resume fox/20260101-120000 --anyway\n")
    assert read_record(stopped.run_dir).parts == ()


@pytest.mark.slow
def test_anyway_it_goes_on_and_the_record_says_with_what(
    stopped: Plan, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project)
    assert main(["resume", "--anyway"]) == 0
    (part,) = read_record(stopped.run_dir).parts
    assert [text.split(" ", 7)[7].split(":")[0].rsplit("/", 1)[-1] for text in part.inexact] == [
        "base.safetensors",
        "a.png (caption)",
        "b.png",
    ]
    assert "every byte, on the same kind of device" not in part.exact
    assert (
        "not exact: not as when the run began: dataset 10_fox/b.png: image is new"
        in capsys.readouterr().err
    )


def test_another_commit_of_sd_scripts_is_another_trainer(stopped: Plan, project: Path) -> None:
    git = project / "scripts" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("b" * 40)
    path = stopped.run_dir / "record.json"
    record = json.loads(path.read_text())
    record["trainer"] |= {
        "name": "kohya",
        "script": str(project / "scripts" / "train_network.py"),
        "commit": "a" * 40,
    }
    path.write_text(json.dumps(record))
    with pytest.raises(RecipeError) as raised:
        require_same_inputs(stopped.run_dir)
    (fault,) = raised.value.faults
    assert fault.what == f"sd-scripts in {project / 'scripts'}: aaaaaaaaaaaa -> bbbbbbbbbbbb."


def test_other_packages_are_reported_and_what_was_never_hashed_too(stopped: Plan) -> None:
    path = stopped.run_dir / "record.json"
    record = json.loads(path.read_text())
    record["trainer"] |= {
        "python": sys.executable,
        "packages": {**record["trainer"]["packages"], "numpy": "0.1", "left-pad": "9"},
    }
    record["weights"][0]["sha256"] = None
    path.write_text(json.dumps(record))
    (stopped.run_dir / "dataset.json").unlink()
    packages, unknown = require_same_inputs(stopped.run_dir)
    assert packages.startswith("package numpy: 0.1 -> ")
    assert unknown.endswith("before it was hashed: weights base.safetensors, the dataset")
