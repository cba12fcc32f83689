"""The demo as `make demo` runs it, on the committed toy base: the trigger becomes the character, other prompts stay what they were."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pace import until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import demo  # noqa: E402

BASE = ROOT / "recipes" / "demo" / "base"


def test_the_toy_base_is_small_whole_and_of_sd15s_architecture() -> None:
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) <= 12_000_000
    index = json.loads((BASE / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert any((BASE / part).iterdir())
    schedule = json.loads((BASE / "scheduler" / "scheduler_config.json").read_text())
    assert (schedule["beta_start"], schedule["beta_end"], schedule["beta_schedule"]) == (
        0.00085,
        0.012,
        "scaled_linear",
    )
    assert json.loads((BASE / "vae" / "config.json").read_text())["scaling_factor"] == 0.18215


def project(place: Path) -> Path:
    (place / "recipes").mkdir()
    shutil.copy(ROOT / "recipes" / "demo.toml", place / "recipes")
    shutil.copytree(ROOT / "recipes" / "demo", place / "recipes" / "demo")
    return place


@pytest.mark.slow
def test_ctrl_c_lets_the_training_save_and_says_no_more_than_that(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "demo.py"), "--project", str(project(tmp_path))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: list(tmp_path.glob("runs/demo/*/progress.jsonl")), seconds=300)
    os.killpg(demo.pid, signal.SIGINT)
    told = demo.communicate(timeout=200)[1]
    assert demo.returncode == 130
    assert "Traceback" not in told
    (record,) = tmp_path.glob("runs/demo/*/record.json")
    assert json.loads(record.read_text())["state"] == "interrupted"
    assert list(record.parent.glob("output/*-state"))


def shorten(recipe: Path) -> None:
    """Three epochs instead of fourteen, and one picture on the way: enough to learn it, and in CI."""
    text = recipe.read_text(encoding="utf-8")
    text, whole = re.subn(r"(?m)^max_train_epochs  = 14$", "max_train_epochs = 3", text)
    text, often = re.subn(r"(?m)^((?:save_)?every_n_epochs) = 7$", r"\1 = 3", text)
    text, many = re.subn(r"(?ms)^(prompts = \[\n[^\n]+\n).*?^\]", r"\1]", text)
    assert (whole, often, many) == (1, 2, 1)
    recipe.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("short", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_demo_teaches_the_character_and_forgets_nothing(
    tmp_path: Path, short: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    if short:
        shorten(tmp_path / "recipes" / "demo.toml")
        monkeypatch.setattr(demo, "OTHERS", demo.OTHERS[:8])
    words = ["--project", str(tmp_path), "--json", str(tmp_path / "scores.json")]
    monkeypatch.setattr(sys, "argv", ["demo.py", *words])
    demo.main()
    scores = json.loads((tmp_path / "scores.json").read_text())
    before, after = scores["base"], scores["LoRA"]
    assert before["trigger"]["character"] < 0.1
    assert after["trigger"]["character"] > 0.6
    assert after["others"]["obeyed"] > before["others"]["obeyed"] - 0.15
    assert after["others"]["character"] < 0.15
    (run_dir,) = (tmp_path / "runs" / "demo").iterdir()
    assert (run_dir / "sheet.png").stat().st_size > 10_000
    assert str(run_dir / "sheet.png") in capfd.readouterr().out
