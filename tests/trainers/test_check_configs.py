"""tools/check_configs.py reads what other people wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import check_configs

GOOD = """
pretrained_model_name_or_path = "D:/models/v1-5.safetensors"
train_data_dir = "D:/pictures"
[network_arguments]
network_module = "networks.lora"
network_dim = 16
network_alpha = 8
[training_arguments]
learning_rate = 1e-4
max_train_epochs = 8
max_token_length = 75
sdpa = true
"""
GUI = {
    "LoRA_type": "Standard",
    "epoch": 8,
    "optimizer": "AdamW8bit",
    "learning_rate": 0.0001,
    "network_dim": 16,
    "network_alpha": 8,
    "max_resolution": "1024,1024",
    "clip_skip": "1",
    "optimizer_args": "weight_decay=0.1 betas=0.9,0.99",
    "sdxl": True,
}


def test_each_config_is_told_with_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.toml").write_text(GOOD.replace("1e-4", "-1.0"), encoding="utf-8")
    (tmp_path / "gui.json").write_text(json.dumps(GUI), encoding="utf-8")
    (tmp_path / "other.json").write_text("[1]", encoding="utf-8")
    assert check_configs.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "refused   bad.toml",
        "          [train] learning_rate: -1.0: the optimiser refuses a negative rate.",
        "accepted  good.toml",
        "accepted  gui.json",
        "-         other.json: no sd-scripts config",
        "2 accepted, 1 refused",
    ]
