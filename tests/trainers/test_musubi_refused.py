"""What musubi-tuner lets pass silently, or finds out about after minutes: the plan refuses it, and nothing is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plan_cases import folder, png, weights
from plans_by_hand import FAKES

from lorakit.cli.main import main

RECIPE = """
family = "zimage"
name = "fox"
trigger = "fox"
[model]
base = "models/base.safetensors"
vae = "models/vae.safetensors"
text_encoder = "models/text.safetensors"
[dataset]
path = "datasets/fox"
[train]
resolution = "64"
network_dim = 4
network_alpha = 4
learning_rate = 1e-3
optimizer_type = "AdamW"
max_train_steps = 12
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORAKIT_MUSUBI", str(FAKES / "musubi_tuner"))
    monkeypatch.setenv("LORAKIT_MUSUBI_PYTHON", sys.executable)
    folder(tmp_path / "datasets/fox/2_fox", [(64, 64), (64, 64)])
    for name in ("base", "vae", "text"):
        weights(tmp_path / f"models/{name}.safetensors", {"layer.weight": ("BF16", (4, 4))})
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/fox.toml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_recipe_has_a_plan(root: Path) -> None:
    assert main(["plan", str(root / "recipes/fox.toml")]) == 0


def emptied(root: Path) -> None:
    for path in (root / "datasets/fox/2_fox").iterdir():
        path.unlink()


def a_twin(root: Path) -> None:
    png(root / "datasets/fox/2_fox/000.jpg", 64, 64)


def misspelt(root: Path) -> None:
    file = root / "recipes/fox.toml"
    file.write_text(RECIPE.replace("network_alpha", "netwrok_alpha"), encoding="utf-8")


def wrongly_typed(root: Path) -> None:
    file = root / "recipes/fox.toml"
    file.write_text(f'{RECIPE}max_grad_norm = "half"\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "models/vae.safetensors").unlink(), "vae.safetensors"),
        (emptied, "2_fox"),
        (lambda root: (root / "datasets/fox/2_fox/000.png").write_bytes(b"no picture"), "000.png"),
        (lambda root: (root / "datasets/fox/2_fox/000.txt").unlink(), "without a caption file"),
        (a_twin, "000.jpg and 000.png share one caption"),
        (
            lambda root: (root / "datasets/fox/2_fox/walk.mp4").write_bytes(b"x"),
            "is a film, and this model is trained on pictures",
        ),
        (misspelt, "Did you mean network_alpha?"),
        (wrongly_typed, "max_grad_norm"),
    ],
)
def test_it_is_refused_with_its_name_and_nothing_starts(
    root: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], said: str
) -> None:
    spoil(root)
    assert main(["train", str(root / "recipes/fox.toml")]) == 1
    assert said in capsys.readouterr().err
    assert not (root / "runs").exists()
