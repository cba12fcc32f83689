from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.plan.model import Plan
from lorakit.run.train import train


@pytest.fixture
def run_dir(make_plan: Callable[..., Plan], project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    plan = make_plan()
    train(plan)
    return plan.run_dir


def test_the_noted_checkpoint_and_strength_are_delivered(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "webui" / "models" / "Lora").mkdir(parents=True)
    main(["note", "latest", "--strength", "0.7"])
    assert main(["deploy", "latest", "--to", "a1111", "--dir", "webui"]) == 0
    assert capsys.readouterr().out == "<lora:fox:0.7>, fox, ...\n"
    assert (project / "webui" / "models" / "Lora" / "fox.safetensors").read_bytes() == (
        run_dir / "output" / "fox.safetensors"
    ).read_bytes()


def test_diffusers_needs_no_folder(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "latest", "--to", "diffusers"]) == 0
    assert str(run_dir / "output") in capsys.readouterr().out


def test_an_unknown_checkpoint_names_those_there_are(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "latest", "--to", "diffusers", "--checkpoint", "fux.safetensors"]) == 1
    assert "Did you mean fox.safetensors?" in capsys.readouterr().err


def test_a_program_without_a_folder_asks_for_it(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "latest", "--to", "comfyui"]) == 1
    assert "--dir" in capsys.readouterr().err


def test_a_workflow_gets_a_copy_named_in_json_too_that_never_replaces_an_edited_one(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "comfy/models/loras").mkdir(parents=True)
    (project / "w.json").write_text(
        json.dumps({"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "old.safetensors"}}})
    )
    words = [
        "deploy",
        "latest",
        "--to",
        "comfyui",
        "--dir",
        "comfy",
        "--workflow",
        "w.json",
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["workflow"] == [
        "node 1 LoraLoader: old.safetensors -> fox.safetensors",
        "wrote w-fox.json",
    ]
    assert main(words) == 0
    (project / "w-fox.json").write_text("my own")
    assert main(words) == 1
    assert (project / "w-fox.json").read_text() == "my own"
