"""A sound SD1.5 project whose base is a header alone: it can be planned, not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_runs import MakeSweep
from plan_cases import folder, sd15_base

from lorakit.engines.points import combinations, read_variations
from lorakit.engines.sweep import plan_points, write_sweep

MAYA = """\
# Maya, second try
family  = "sd15"
name    = "maya"
trigger = "maya_char"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "data"
[train]
network_dim = 8            # capacity
network_alpha = 4
learning_rate = 1e-4       # small: faces
resolution = "512,512"
enable_bucket = true
max_train_epochs = 2
network_train_unet_only = true
optimizer_type = "AdamW"
lr_scheduler = "cosine"
sdpa = true
[sample]
every_n_epochs = 1
prompts = [
  "{trigger}, portrait",   # the face
]
"""


@pytest.fixture
def maya(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe; its project is the folder we are in."""
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512), (640, 480), (480, 640)])
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "maya.toml"
    recipe.write_text(MAYA, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return recipe


@pytest.fixture
def make_sweep(maya: Path) -> MakeSweep:
    def make(*vary: str, name: str = "rank") -> Path:
        texts = vary or ("network_dim=8,16", "learning_rate=1e-4,2e-4,5e-4")
        planned = plan_points(maya, name, combinations(read_variations(texts)))
        return write_sweep(maya, name, texts, planned)

    return make


TOY = """
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
max_train_steps = 200
train_batch_size = 1
cache_latents = true
seed = 3
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    (tmp_path / "recipes" / "ball.toml").write_text(TOY)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path
