"""A real sd-scripts run, killed and resumed, laid over the same run left in peace: the learning rate at every step, and the losses."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lorakit import config
from lorakit.errors import raise_on_errors
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.rehearse import standin
from lorakit.report.scalars import read_scalars
from lorakit.run.events import Event
from lorakit.run.record import read_record
from lorakit.run.resume import resume
from lorakit.run.train import train
from lorakit.run.weights import inspect

pytestmark = [pytest.mark.real, pytest.mark.slow]

RECIPE = """
family = "sd15"
name = "ball"
trigger = "ball"
[model]
base = "{base}"
[dataset]
path = "datasets/ball"
[train]
resolution = "64,64"
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
lr_scheduler = "cosine"
lr_warmup_steps = 2
optimizer_type = "AdamW"
mixed_precision = "no"
max_train_steps = 10
train_batch_size = 1
cache_latents = true
max_data_loader_n_workers = 0
network_train_unet_only = true
sdpa = true
seed = 7
save_state = true
save_every_n_epochs = 1
save_every_n_steps = 3
"""


REAL_CACHE = config.cache_dir()    # read before each test gets a home of its own: the stand-in is 2 GB


@pytest.fixture
def plan_of(sd_scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(REAL_CACHE.parent))
    from PIL import Image

    images = tmp_path / "datasets" / "ball" / "1_ball"
    images.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        Image.new("RGB", (64, 64), colour).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(f"ball, {colour} wall")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "ball.toml"
    recipe.write_text(RECIPE.format(base=standin.weights("sd15")["base"].as_posix()))

    def make(run: str) -> Plan:
        resolved, faults = resolve(recipe)
        plan = make_plan(resolved, faults, run_dir=tmp_path / "runs" / "ball" / run)
        raise_on_errors(plan.faults)
        return plan

    return make


def curve(run_dir: Path, tag: str) -> dict[int, float]:
    """True step -> value, over all parts: those of a resumed part counted from its offset."""
    found: dict[int, float] = {}
    offsets = [0, *(part["offset"] for part in read_record(run_dir)["parts"])]
    for offset, folder in zip(offsets, sorted((run_dir / "logs").iterdir()), strict=True):
        found |= {step + offset: value for step, value in read_scalars(folder)[tag]}
    return found


def killed_at(plan: Plan, step: int) -> Any:
    """A teller that kills the whole group, as a power cut would, at that step."""
    killed: list[int] = []

    def tell(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= step and not killed:
            killed.append(step)
            os.killpg(read_record(plan.run_dir)["process"]["pgid"], signal.SIGKILL)

    return tell


def test_killed_twice_and_resumed_twice_it_is_the_run_left_in_peace(plan_of: Any) -> None:
    peace, other = plan_of("20260101-120000"), plan_of("20260101-120001")
    assert train(peace).state == "done"

    assert train(other, teller=killed_at(other, 5)).state == "failed"
    assert resume(other.run_dir, teller=killed_at(other, 7)).state == "failed"     # from step 4, between two epochs
    outcome = resume(other.run_dir)                                               # from step 6, inside one
    assert (outcome.state, outcome.step) == ("done", 10)
    assert [part["from_step"] for part in read_record(other.run_dir)["parts"]] == [4, 6]

    rates, expected = curve(other.run_dir, "lr/unet"), curve(peace.run_dir, "lr/unet")
    assert {step: rates[step] for step in range(1, 11)} == expected
    losses, others = curve(other.run_dir, "loss/current"), curve(peace.run_dir, "loss/current")
    assert losses[6] == pytest.approx(others[6], rel=0.01)       # random states restored; only the first batch was another one
    assert sum(losses[step] for step in range(1, 11)) / 10 == pytest.approx(sum(others.values()) / 10, rel=0.15)

    names = {path.name for path in (peace.run_dir / "output").glob("*.safetensors")}
    assert {path.name for path in (other.run_dir / "output").glob("*.safetensors")} == names
    for name in names:
        assert inspect(other.run_dir / "output" / name).steps == inspect(peace.run_dir / "output" / name).steps
