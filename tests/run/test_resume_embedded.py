"""The embedded trainer itself, stopped and resumed: the same bytes as the run left in peace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lorakit.errors import RecipeError, raise_on_errors
from lorakit.events import Event
from lorakit.files import sha256
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.runs.find import progress_rows
from lorakit.runs.record import read_record
from lorakit.weights.finite import inspect

pytestmark = pytest.mark.slow

RECIPE = """
family = "sd15"
trainer = "embedded"
name = "ball"
trigger = "ball"
[model]
base = "models/tiny"
[dataset]
path = "datasets/ball"
[train]
resolution = "64,64"
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
lr_scheduler = "cosine"
optimizer_type = "AdamW"
mixed_precision = "no"
max_train_epochs = 3
train_batch_size = 1
cache_latents = true
[launch]
python = "PYTHON"
"""


@pytest.fixture
def plan_of(tmp_path: Path, python_at_once: Path) -> Any:
    pytest.importorskip("torch")
    from PIL import Image
    from tiny_bases import make_tiny

    make_tiny("sd15", tmp_path / "models" / "tiny")
    images = tmp_path / "datasets" / "ball" / "1_ball"
    images.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        Image.new("RGB", (64, 64), colour).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(f"ball, {colour} wall")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "ball.toml"
    recipe.write_text(RECIPE.replace("PYTHON", str(python_at_once)))

    def make(run: str) -> Plan:
        resolved, faults = resolve(recipe)
        plan = make_plan(resolved, faults, run_dir=tmp_path / "runs" / "ball" / run)
        raise_on_errors(plan.faults)
        return plan

    return make


def test_stopped_and_resumed_it_has_the_same_tensors(plan_of: Any) -> None:
    peace = plan_of("20260101-120000")
    outcome = train(peace)
    assert (outcome.state, outcome.ending.step, outcome.ending.total) == ("done", 12, 12), outcome
    for number in (signal.SIGINT, signal.SIGTERM):
        stop_and_resume(plan_of(f"20260101-1200{int(number):02}"), peace, number)


def stop_and_resume(other: Plan, peace: Plan, number: int) -> None:
    asked: list[int] = []

    def stop(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= 5 and not asked:
            asked.append(number)
            os.kill(os.getpid(), number)

    stopped = train(other, emit=stop)
    assert stopped.state == "interrupted"
    assert stopped.ending.exit_code in {130, 143, None}
    assert len(stopped.saved) == 1
    resumed = resume_run(other.run_dir)
    assert (resumed.state, resumed.ending.step) == ("done", 12)
    lora = Path("output") / "ball.safetensors"
    assert (
        inspect(other.run_dir / lora).tensors_sha256 == inspect(peace.run_dir / lora).tensors_sha256
    )
    assert sha256(other.run_dir / lora) == sha256(peace.run_dir / lora)  # the file itself
    assert [row["loss"] for row in progress_rows(other.run_dir)] == [
        row["loss"] for row in progress_rows(peace.run_dir)
    ]
    record = read_record(other.run_dir)
    assert record.parts[0].from_step == stopped.ending.step
    assert record.parts[0].inexact == ()


def test_after_a_changed_caption_it_goes_on_only_when_told_to(plan_of: Any, tmp_path: Path) -> None:
    plan = plan_of("20260101-120000")
    assert (
        train(
            plan,
            emit=lambda event: (
                os.kill(os.getpid(), signal.SIGINT)
                if event.step == 5 and event.kind == "step"
                else None
            ),
        ).state
        == "interrupted"
    )
    (tmp_path / "datasets" / "ball" / "1_ball" / "0.txt").write_text("ball, at night")
    with pytest.raises(RecipeError, match="1 difference from what ball/20260101-120000 began with"):
        resume_run(plan.run_dir)
    assert resume_run(plan.run_dir, anyway=True).state == "done"
    (text,) = read_record(plan.run_dir).parts[0].inexact
    assert text.startswith("not as when the run began: dataset 1_ball/0.png (caption): ")
