"""What the plan says of films and control pictures, against musubi-tuner's own dataset classes: they decode every film, name every cache, fill every bucket. No model is loaded."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from drawn_images import draw
from films import film

from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.proc import ask
from lorakit.recipe.resolve import resolve
from lorakit.trainers.base import Command, Work
from lorakit.trainers.musubi import caches

pytestmark = pytest.mark.real
pytest.importorskip("av", reason='pip install "lorakit[video]"')

HERE = Path(__file__).parent
RECIPE = """
family = "{family}"
name = "fox"
trigger = "fox"
[model]
base = "models/base.safetensors"
[dataset]
path = "datasets/fox"
{dataset}
[train]
network_dim = 4
network_alpha = 4
learning_rate = 1e-4
optimizer_type = "AdamW"
max_train_epochs = 2
{train}
"""
WORDS = [
    "target_frames = [1, 9, 17]",
    'target_frames = [9, 13]\nframe_extraction = "chunk"',
    'target_frames = [5, 17]\nframe_extraction = "slide"\nframe_stride = 5',
    'target_frames = [9, 21]\nframe_extraction = "uniform"\nframe_sample = 4',
    'target_frames = [9, 17]\nframe_extraction = "uniform"',
    'frame_extraction = "full"\nmax_frames = 30',
    "target_frames = [9, 17]\nsource_fps = 30",
    'target_frames = [9]\nframe_extraction = "chunk"\nsource_fps = 23.976',
    "target_frames = [5]\nsource_fps = 12",
]


def planned(root: Path, family: str, dataset: str, train: str) -> Plan:
    file = root / "recipes/fox.toml"
    file.parent.mkdir(exist_ok=True)
    text = RECIPE.format(family=family, dataset=dataset, train=train)
    file.write_text(text, encoding="utf-8")
    plan = make_plan(*resolve(file), run_dir=root / "runs/fox/1")
    plan.run_dir.mkdir(parents=True)
    (plan.run_dir / "dataset.toml").write_text(plan.files["dataset.toml"], encoding="utf-8")
    return plan


def answered(checkout: Path, plan: Plan, architecture: str) -> dict[str, Any]:
    words = [os.environ["LORAKIT_MUSUBI_PYTHON"], str(HERE / "musubi_films_probe.py"), architecture]
    config, env = str(plan.run_dir / "dataset.toml"), {"PYTHONPATH": str(checkout / "src")}
    answer = ask([*words, config], timeout_s=300, cwd=plan.run_dir, env=env)
    assert answer.code == 0, answer.err[-3000:]
    found: dict[str, Any] = json.loads(answer.out)
    return found


def held(plan: Plan, theirs: dict[str, Any]) -> None:
    """Buckets, batches and caches of the plan are theirs."""
    ours = [[one.width, one.height, one.frames, one.draws] for one in plan.steps.buckets]
    assert sorted(ours) == sorted(theirs["buckets"])
    assert plan.steps.batches == theirs["batches"]
    work = Work(plan.run_dir, plan.resolved.family, {}, plan.run_dir / "output", "fox")
    for name in (caches.LATENTS, caches.TEXTS):
        command = Command(("cache",), name)
        assert not caches.needless(command, work)
        assert caches.fault_after(command, work) == ""


@pytest.mark.parametrize("train", ["bucket_no_upscale = false", "bucket_no_upscale = true"])
def test_films_are_cut_counted_and_cached_as_its_own_classes_do(
    musubi_tuner: Path, tmp_path: Path, train: str
) -> None:
    chance = random.Random(11)
    dataset = ""
    for number, words in enumerate(WORDS):
        name = f"{number % 3 + 1}_fox{number}"
        for one in range(4):
            suffix = chance.choice((".mp4", ".webm", ".mov", ".mkv", ".avi"))
            size = chance.choice(((128, 96), (96, 160), (640, 360), (64, 64)))
            frames = chance.randint(3, 60)
            film(tmp_path / "datasets/fox" / name / f"a_{one}{suffix}", frames, size=size)
        dataset += f'[dataset.subset."{name}"]\n{words}\n'
    draw(tmp_path / "datasets/fox/2_fox0", [(128, 96), (64, 64), (200, 100)])
    plan = planned(tmp_path, "wan22", dataset, f'resolution = "160,96"\ntrain_batch_size = 2\n{train}')  # fmt: skip
    theirs = answered(musubi_tuner, plan, "wan")
    held(plan, theirs)
    assert len(theirs["items"]) > 60


@pytest.mark.parametrize(
    ("family", "architecture", "version"),
    [
        ("flux_kontext", "fk", ""),
        ("qwen_image", "qie", 'model_version = "edit"'),
        ("qwen_image", "qie", 'model_version = "edit-2509"'),
        ("flux2", "f2d", 'model_version = "dev"'),
    ],
)
def test_control_pictures_are_found_as_its_own_classes_do(
    musubi_tuner: Path, tmp_path: Path, family: str, architecture: str, version: str
) -> None:
    draw(tmp_path / "datasets/fox/2_fox", [(128, 96), (64, 128), (200, 100)])
    draw(tmp_path / "before", [(96, 96), (96, 96), (96, 96)], caption=None)
    several = "edit-" in version or family == "flux2"
    if several:
        (tmp_path / "before/000.png").rename(tmp_path / "before/000_0.png")
        draw(tmp_path / "more", [(64, 64)], caption=None)
        (tmp_path / "more/000.png").rename(tmp_path / "before/000_1.png")
    size = "control_resolution = [64, 64]" if family == "qwen_image" else "no_resize_control = true"
    dataset = f'control_directory = "before"\n{size}'
    plan = planned(tmp_path, family, dataset, f'resolution = "128"\n{version}')
    assert not [fault for fault in plan.faults if fault.rule.startswith("controls")]
    theirs = answered(musubi_tuner, plan, architecture)
    held(plan, theirs)
    assert sorted(count for _, count in theirs["items"].values()) == [1, 1, 2 if several else 1]


@pytest.mark.parametrize("spoil", ["missing", "odd"])
def test_what_is_refused_is_what_it_stops_at(
    musubi_tuner: Path, tmp_path: Path, spoil: str
) -> None:
    draw(tmp_path / "datasets/fox/2_fox", [(128, 96), (64, 128)])
    draw(tmp_path / "before", [(96, 96), (96, 96)], caption=None)
    first = tmp_path / "before/000.png"
    first.unlink() if spoil == "missing" else first.rename(first.with_name("000_before.png"))
    dataset = 'control_directory = "before"'
    plan = planned(tmp_path, "flux_kontext", dataset, 'resolution = "128"')
    assert [fault for fault in plan.faults if fault.rule.startswith("controls")]
    with pytest.raises(AssertionError, match="ValueError"):
        answered(musubi_tuner, plan, "fk")
