"""The predicted size of a LoRA against sd-scripts' own networks, built without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plan_cases import recipe

from lorakit import proc
from lorakit.plan.estimate import data_bytes, lora_layers
from lorakit.recipe.options import Options

PROBE = Path(__file__).with_name("lora_probe.py")
CASES: list[dict[str, Any]] = [
    {"family": "sd15", "rank": 16, "text": True, "unet": True, "args": {}},
    {"family": "sd15", "rank": 4, "text": False, "unet": True, "args": {}},
    {
        "family": "sd15",
        "rank": 8,
        "text": True,
        "unet": True,
        "args": {"conv_dim": "4", "conv_alpha": "1"},
    },
    {"family": "sd15", "rank": 8, "text": True, "unet": False, "args": {}},
    {"family": "sdxl", "rank": 32, "text": True, "unet": True, "args": {}},
    {
        "family": "sdxl",
        "rank": 8,
        "text": False,
        "unet": True,
        "args": {"conv_dim": "8", "conv_alpha": "1"},
    },
    {"family": "flux", "rank": 16, "text": False, "unet": True, "args": {}},
    {"family": "flux", "rank": 4, "text": True, "unet": True, "args": {"train_blocks": "single"}},
    {"family": "flux", "rank": 4, "text": True, "unet": True, "args": {"train_t5xxl": "True"}},
]


@pytest.mark.real
def test_every_lora_has_the_modules_and_numbers_that_were_predicted(
    tmp_path: Path, sd_scripts: Path
) -> None:
    from lorakit.config import user_setting

    python = user_setting("sd_scripts_python")
    assert python is not None
    (tmp_path / "cases.json").write_text(json.dumps(CASES), encoding="utf-8")
    answer = proc.ask(
        [python[0], str(PROBE), str(tmp_path / "cases.json")],
        timeout_s=300,
        env={
            "PYTHONPATH": str(sd_scripts),
            "PYTHONUTF8": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        },
    )
    assert answer.code == 0, answer.err[-3000:]
    for case, real in zip(CASES, json.loads(answer.out.splitlines()[-1]), strict=True):
        module = "networks.lora_flux" if case["family"] == "flux" else "networks.lora"
        resolved = recipe(
            tmp_path,
            {
                "network_dim": case["rank"],
                "network_module": module,
                "network_train_unet_only": not case["text"],
                "network_train_text_encoder_only": not case["unet"],
                "network_args": [f"{key}={value}" for key, value in case["args"].items()],
            },
            family=case["family"],
        )
        options = Options(resolved)
        found = lora_layers(options)
        assert len(found) == real["modules"], case
        assert data_bytes(options, found) == 4 * real["numbers"], case
