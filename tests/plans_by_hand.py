"""Plans made by hand whose argv points at the stand-ins in tests/fakes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.plan.foreseen import Estimate
from lorakit.plan.model import Plan, Steps
from lorakit.recipe.model import Resolved, Setting
from lorakit.trainers.base import Command
from lorakit.weights.reference import WeightFile

FAKES = Path(__file__).parent / "fakes"
MakePlan = Callable[..., Plan]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "fox.toml").write_text('preset = "sd15"\n')
    folder = tmp_path / "datasets" / "fox" / "10_fox"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"a picture of a fox")
    (folder / "a.txt").write_text("fox, in the snow\n")
    return tmp_path


@pytest.fixture
def make_plan(project: Path) -> MakePlan:
    def make(
        fake: str = "trains.py",
        *,
        steps: int = 4,
        pause: float = 0.0,
        trainer: str = "kohya",
        name: str = "fox",
        run: str = "20260101-120000",
        env: dict[str, str] | None = None,
        argv: list[str] | None = None,
        train: dict[str, object] | None = None,
        per_epoch: int = 0,
    ) -> Plan:
        run_dir = project / "runs" / name / run
        image = project / "datasets" / "fox" / "10_fox" / "a.png"
        facts = ImageFacts(image, 64, 64, image.with_suffix(".txt"), 18, 0)
        subset = SubsetFacts(image.parent, 10, "fox", (facts,))
        resolved = Resolved(
            file=project / "recipes" / f"{name}.toml",
            root=project,
            name=name,
            trigger="fox",
            preset="sd15",
            family="sd15",
            trainer=trainer,
            model={"base": Setting("models/base.safetensors", "recipe")},
            train={
                key: Setting(value, "test")
                for key, value in {
                    "learning_rate": 1e-4,
                    "output_name": name,
                    **(train or {}),
                }.items()
            },
        )
        arguments = [str(run_dir / "output"), name, str(steps), str(pause)]
        return Plan(
            resolved=resolved,
            dataset=DatasetFacts(project / "datasets" / "fox", (subset,)),
            steps=Steps(
                (),
                steps,
                0,
                0,
                steps,
                steps,
                1,
                1,
                1,
                1,
                per_epoch or steps,
                steps,
                (),
                (),
                f"{steps} steps",
            ),
            run_dir=run_dir,
            script=FAKES / fake,
            files={"train.toml": "learning_rate = 1e-4\n"},
            commands=(Command(tuple(argv or [sys.executable, str(FAKES / fake), *arguments])),),
            env=env or {},
            estimate=Estimate(1000, 3000, 0, 5000, 1, 2, "test"),
            faults=(),
            weights=(
                WeightFile(
                    "pretrained_model_name_or_path",
                    "models/base.safetensors",
                    project / "models" / "base.safetensors",
                ),
            ),
        )

    return make


@pytest.fixture(autouse=True)
def no_orphans(tmp_path: Path) -> Iterator[None]:
    """After each test no process that works in this test's folder is left."""
    yield
    left = [
        command for process in psutil.process_iter() if str(tmp_path) in (command := _of(process))
    ]
    assert not left


def _of(process: psutil.Process) -> str:
    try:
        ours = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
        return "" if ours else shlex.join(process.cmdline())
    except psutil.Error:
        return ""
