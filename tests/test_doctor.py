"""`lorakit doctor` says what is missing and what to do about it, and gives nothing private away."""

from __future__ import annotations

import json
import re
import stat
import sys
from pathlib import Path

import pytest

from lorakit import doctor
from lorakit.cli.main import main
from lorakit.doctor import Checked, unlocated
from lorakit.proc import Answer

FOUND = {
    "torch": "2.8.0",
    "device": "cuda",
    "name": "NVIDIA H100",
    "memory": 80_000_000_000,
    "can": ["bf16", "fp8"],
    "bandwidth": 2.9e12,
}


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The probe is asked once in its own test: torch takes seconds."""
    said = Answer(0, json.dumps(FOUND) + "\n", "")
    monkeypatch.setattr(doctor, "ask", lambda *_, **__: said)
    monkeypatch.chdir(tmp_path)


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    main(["doctor", "--json"])
    data = json.loads(capsys.readouterr().out)
    return {one["name"]: one for one in data["checks"]}


def test_the_device_is_told_with_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    said = report(capsys)["device"]["said"]
    assert said == "cuda NVIDIA H100, 80 GB; can bf16, fp8; copies 2.9 TB/s"


def test_a_trainer_that_is_named_wrongly_is_red_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path / "nothing"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^red +sd-scripts +LORAKIT_SD_SCRIPTS names", out, re.MULTILINE)
    assert "make vendor" in out


def test_a_token_is_noticed_and_never_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    assert report(capsys)["hub login"]["state"] == "note"
    kept = own_home / ".cache" / "huggingface" / "token"
    kept.parent.mkdir(parents=True)
    kept.write_text("hf_privateprivate")
    assert report(capsys)["hub login"]["said"] == "a token by hf auth login"
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    main(["doctor"])
    assert "secret" not in capsys.readouterr().out


def test_no_private_path_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORAKIT_MUSUBI", str(tmp_path / "secretfolder" / "musubi"))
    main(["doctor"])
    out = capsys.readouterr().out
    assert str(Path.home()) not in out and str(tmp_path) not in out and "secretfolder" not in out
    assert ".../musubi" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config is at /home/maya/.config/lorakit/config.toml.", "config is at .../config.toml."),
        ("~/pictures/maya", ".../maya"),
        ("needs 3/4 of it, or 2.9 TB/s", "needs 3/4 of it, or 2.9 TB/s"),
        (
            "git clone https://github.com/kohya-ss/x DIR",
            "git clone https://github.com/kohya-ss/x DIR",
        ),
        ("vendor/.venv", "vendor/.venv"),
    ],
)
def test_a_place_is_told_by_its_last_name(text: str, said: str) -> None:
    assert unlocated(text) == said


def test_torch_that_breaks_is_red_and_torch_that_is_not_there_is_noted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Answer(1, "", "OSError: libcudart.so.12: cannot open shared object file")
    monkeypatch.setattr(doctor, "ask", lambda *_, **__: broken)
    assert report(capsys)["torch"]["state"] == "red"
    absent = Answer(1, "", "ModuleNotFoundError: No module named 'torch'")
    monkeypatch.setattr(doctor, "ask", lambda *_, **__: absent)
    found = report(capsys)["torch"]
    assert (found["state"], "lorakit[train]" in found["remedy"]) == ("note", True)


def test_every_red_line_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path
) -> None:
    checkout = tmp_path / "musubi"
    (checkout / "src" / "musubi_tuner").mkdir(parents=True)
    (checkout / "src" / "musubi_tuner" / "zimage_train_network.py").touch()
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("LORAKIT_MUSUBI", str(checkout))
    monkeypatch.setenv("LORAKIT_MUSUBI_PYTHON", str(python))
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    monkeypatch.setattr(doctor, "ask", lambda *_, **__: Answer(1, "", "broken"))
    red = [one for one in doctor.examine({}) if one.state == "red"]
    assert {one.name for one in red} >= {"Python", "torch", "musubi-tuner: torch"}
    assert all(one.remedy for one in red)
    assert isinstance(red[0], Checked)


@pytest.mark.slow
def test_the_probe_runs_in_a_python_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from lorakit.proc import ask

    monkeypatch.setattr(doctor, "ask", ask)
    device = next(one for one in doctor.examine({}) if one.name in {"device", "torch"})
    assert device.state == "ok"
