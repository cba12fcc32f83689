"""FLUX through the real script on a CPU: one double and one single block, a T5 full of zeros. Minutes, so it is marked slow as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_images import draw

from lorakit.cli.main import main

pytestmark = [pytest.mark.real, pytest.mark.slow]

RECIPE = """
family = "flux"
name = "ball"
trigger = "ball_char"
[model]
base = "missing.safetensors"
clip_l = "missing-too.safetensors"
t5xxl = "missing.safetensors"
ae = "missing.safetensors"
[dataset]
path = "data"
[train]
network_dim = 4
network_alpha = 4
learning_rate = 1e-4
mixed_precision = "bf16"
max_train_epochs = 10
enable_bucket = true
max_bucket_reso = 2048
network_train_unet_only = true
cache_latents = true
cache_text_encoder_outputs = true
gradient_checkpointing = true
max_data_loader_n_workers = 0
"""


def test_flux_is_rehearsed_without_any_of_its_weights(
    sd_scripts: Path, with_stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "data" / "3_ball", [(700, 700), (900, 700)])
    (tmp_path / "ball.toml").write_text(RECIPE, encoding="utf-8")
    kept = tmp_path / "kept"
    assert main(["rehearse", str(tmp_path / "ball.toml"), "--keep", str(kept), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 2
    assert (kept / "run" / "output" / "rehearsal.safetensors").is_file()
    from safetensors import safe_open

    with safe_open(kept / "run" / "output" / "rehearsal.safetensors", framework="numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert {name.split("_")[2] for name in names} == {"double", "single"}
    assert metadata["modelspec.architecture"].startswith("flux-1")
    assert metadata["ss_guidance_scale"] == "1.0"
