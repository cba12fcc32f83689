from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.plan.model import Plan
from lorakit.run.resume.stages import train_stages
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "http://127.0.0.1:9"], "gives no answer"),
        (["--workflow", "gone.json"], "gone.json is no workflow that can be read: no such file."),
    ],
)
def test_what_fails_after_the_copy_says_that_the_copy_is_there_and_what_takes_it_back(
    run_dir: Path, project: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "comfy/models/loras").mkdir(parents=True)
    deploy = ["deploy", "latest", "--to", "comfyui", "--dir", "comfy", *words]
    assert main(deploy) == 1
    err = capsys.readouterr().err
    undeploy = f"lorakit undeploy fox/{run_dir.name} --to comfyui"
    assert said in err
    assert f"comfy/models/loras/fox.safetensors is in place all the same; {undeploy}" in err
    assert main(deploy) == 1
    assert "is in place all the same" in capsys.readouterr().err
    assert main(undeploy.split()[1:]) == 0
    assert list((project / "comfy/models/loras").iterdir()) == []


@pytest.mark.parametrize(
    ("program", "url", "said"),
    [
        ("comfyui", "file:///etc/passwd", "--check file:///etc/passwd: an address such as"),
        ("swarmui", "http://127.0.0.1:9", "swarmui is not asked"),
    ],
)
def test_a_check_that_cannot_be_is_refused_before_anything_is_copied(
    run_dir: Path,
    project: Path,
    program: str,
    url: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "ui").mkdir()
    words = ["deploy", run_dir.name, "--to", program, "--dir", "ui", "--check", url]
    assert main(words) == 1
    assert said in capsys.readouterr().err
    assert list((project / "ui").rglob("*.safetensors")) == []


def test_a_strength_that_is_no_number_is_named_before_anything_is_copied(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "ui").mkdir()
    words = ["--to", "comfyui", "--dir", "ui", "--workflow", "new", "--also", "ink:abc"]
    assert main(["deploy", run_dir.name, *words]) == 1
    assert "--also ink:abc: 'abc' is no strength. Such as inkstyle:0.7." in " ".join(
        capsys.readouterr().err.split()
    )
    assert list((project / "ui").rglob("*.safetensors")) == []


def test_a_lora_that_was_cut_or_changed_does_not_leave(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "comfy/models/loras").mkdir(parents=True)
    lora = run_dir / "output" / "fox.safetensors"
    whole = lora.read_bytes()
    words = ["deploy", "latest", "--to", "comfyui", "--dir", "comfy"]
    for content, said in (
        (whole[:-50], "where the record says"),
        (whole[:-1] + b"\x01", "other bytes, of the same size"),
    ):
        before = lora.stat()
        lora.write_bytes(content)
        os.utime(lora, ns=(before.st_atime_ns, before.st_mtime_ns))
        for program in (words, ["deploy", "latest", "--to", "diffusers"], [*words, "--link"]):
            assert main(program) == 1
            err = capsys.readouterr().err
            assert "is not the file that fox/20260101-120000 made" in err and said in err
            assert "take another checkpoint, or train again: lorakit train" in err
    assert list((project / "comfy/models/loras").iterdir()) == []
    lora.write_bytes(whole)
    assert main(words) == 0


NO_PLAIN_NAMES = (
    *("../../../evil", ".", "..", "", "/tmp/evil", "a/b", "a\\b", "C:evil", "nul", "COM1.x"),
    *("a\0b", "a\nb", "end.", "end ", ".hidden", "x" * 240, "ü" * 130, "a?b", "\ud800"),
)


def test_a_name_that_is_no_plain_file_name_is_refused(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "comfy/models/loras").mkdir(parents=True)
    before = {path for path in project.rglob("*") if "runs" not in path.parts}
    for name in NO_PLAIN_NAMES:
        words = ["deploy", "latest", "--to", "comfyui", "--dir", "comfy", "--as", name]
        assert main(words) == 1, ascii(name)
        assert "--as" in capsys.readouterr().err, ascii(name)
        after = {path for path in project.rglob("*") if "runs" not in path.parts}
        assert after == before, ascii(name)


def test_of_two_experts_the_other_one_is_named_with_its_command(
    make_plan: Callable[..., Plan],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project)
    plans = [
        replace(made, stage=name)
        for number, name in enumerate(("high", "low"), 1)
        for made in [expert(make_plan, f"{number}-{name}", name)]
    ]
    assert train_stages(plans).ok
    (project / "comfy/models/loras").mkdir(parents=True)
    capsys.readouterr()
    words = ["deploy", "fox", "--to", "comfyui", "--dir", "comfy"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert (project / "comfy/models/loras/fox_low.safetensors").is_file()
    again = "lorakit deploy fox --to comfyui --dir comfy --checkpoint fox_high.safetensors"
    assert again in said.out + said.err
    assert main([*words, "--checkpoint", "fox_high.safetensors"]) == 0
    assert (project / "comfy/models/loras/fox_high.safetensors").is_file()


def expert(make_plan: Callable[..., Plan], folder: str, name: str) -> Plan:
    """A stage that trains a LoRA of its own."""
    output = f"fox_{name}"
    plan = make_plan(run=f"20260101-120000/{folder}", train={"output_name": output})
    words = [output if word == "fox" else word for word in plan.argv]
    return replace(plan, commands=(plan.commands[0]._replace(argv=tuple(words)),))


def webui_of(project: Path) -> Path:
    folder = project / "webui" / "models" / "Lora"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def deployed(*words: str) -> int:
    return main(["deploy", "latest", "--to", "a1111", "--dir", "webui", *words])


def test_another_lora_is_put_aside_when_asked_and_comes_back(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = webui_of(project)
    (folder / "fox.safetensors").write_bytes(b"another")
    (folder / "fox.safetensors.1.bak").write_bytes(b"older")
    assert deployed() == 1
    assert "--replace" in capsys.readouterr().err
    assert deployed("--replace") == 0
    assert (folder / "fox.safetensors.2.bak").read_bytes() == b"another"
    assert (folder / "fox.safetensors").stat().st_size > 100
    assert main(["undeploy", "latest", "--to", "a1111"]) == 0
    assert (folder / "fox.safetensors").read_bytes() == b"another"
    assert sorted(one.name for one in folder.iterdir()) == [
        "fox.safetensors",
        "fox.safetensors.1.bak",
    ]
    assert main(["undeploy", "latest"]) == 1
    assert "was not deployed" in capsys.readouterr().err


def test_undeploy_leaves_what_somebody_has_changed(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = webui_of(project)
    deployed()
    (folder / "fox.json").write_text('{"activation text": "mine"}')
    assert main(["undeploy", "latest"]) == 0
    assert "fox.json was changed since; it was left as it is" in capsys.readouterr().err
    assert [one.name for one in folder.iterdir()] == ["fox.json"]
    assert (run_dir / "output" / "fox.safetensors").is_file()


def test_a_second_delivery_moves_its_own_words_in_the_sidecar_and_no_others(
    run_dir: Path, project: Path
) -> None:
    folder = webui_of(project)
    deployed("--strength", "0.8")
    sidecar = json.loads((folder / "fox.json").read_text())
    (folder / "fox.json").write_text(json.dumps(sidecar | {"activation text": "mine"}))
    deployed("--strength", "0.6")
    found = json.loads((folder / "fox.json").read_text())
    assert (found["preferred weight"], found["activation text"]) == (0.6, "mine")


def test_a_checkpoint_may_be_named_as_a_sheet_names_it(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = webui_of(project)
    assert deployed("--checkpoint", "final") == 0
    assert (folder / "fox.safetensors").is_file()
    assert main(["note", "latest", "--chosen", "final", "--strength", "0.7"]) == 0
    assert json.loads((run_dir / "notes.json").read_text())["chosen"] == "fox.safetensors"
