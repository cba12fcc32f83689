"""Losses and drift at fixed noise: the same every time, nothing left behind, of every family."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_runs import draw_pictures

from lorakit.judge.make import PLACES

pytestmark = pytest.mark.slow

NAMES = {
    "sd15": "lora_unet_mid_block_attentions_0_proj_in",
    "sdxl": "lora_unet_input_blocks_1_0_in_layers_2",
    "flux": "lora_unet_double_blocks_0_img_attn_qkv",
}
WORDS = {
    "sd15": "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    "sdxl": "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
    "flux": "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
}


def lora_for(base: Path, family: str, path: Path) -> str:
    import torch
    from safetensors.torch import save_file

    from lorakit.embedded.drawing.generate import Studio
    from lorakit.embedded.models import open_base

    opened = open_base(argparse.Namespace(pretrained_model_name_or_path=str(base)), family)
    layers = Studio(opened, "cpu", torch.float32).layers
    tensors: dict[str, Any] = {}
    for number, name in enumerate((NAMES[family], WORDS[family])):
        weight, chance = layers[name].weight, torch.Generator().manual_seed(number)
        down = torch.randn(4, *weight.shape[1:], generator=chance)
        up = torch.randn(weight.shape[0], 4, *(1,) * (weight.ndim - 2), generator=chance)
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    save_file(tensors, path)
    return str(path)


@pytest.mark.parametrize("family", ["sd15", "sdxl", pytest.param("flux", marks=pytest.mark.long)])
def test_a_line_for_the_base_and_for_every_cell(family: str, tmp_path: Path) -> None:
    from tiny_bases import make_tiny

    base = make_tiny(family, tmp_path / "base")
    lora = lora_for(base, family, tmp_path / "a.safetensors")
    folder = draw_pictures(tmp_path / "held")
    held = [
        {
            "file": str(file),
            "caption": f"zwx {file.stem}",
            "size": [64, 64],
            "bucket": [96, 64] if int(file.stem) % 2 else [64, 64],
            "scaled": [96, 64] if int(file.stem) % 2 else [64, 64],
        }
        for file in sorted(folder.glob("*.png"))
    ]
    drawn = [
        {"prompt": f"a wall {n}", "width": 64, "height": 64, "steps": 2, "scale": 2.0, "seed": n}
        for n in range(2)
    ]
    kinds = ["held", "train", "drawn"]
    order: dict[str, Any] = {
        "family": family,
        "options": {"pretrained_model_name_or_path": str(base)},
        "seed": 1,
        "places": PLACES,
        "held": held,
        "train": held[:1],
        "drawn": drawn,
        "drawn_file": str(tmp_path / "drawn.safetensors"),
        "results": str(tmp_path / "results.jsonl"),
        "budget_s": None,
        "cells": [
            {"cell": f"at {by}", "lora": lora, "strength": by, "kinds": kinds}
            for by in (0.0, 1.0, 0.5, 1.0001)
        ],
    }
    (tmp_path / "results.jsonl").touch()
    run = in_a_child if family == "sd15" else here
    found = run(order, tmp_path)
    base_line = found["base"]
    assert [len(base_line[kind]) for kind in kinds] == [4, 1, 2]
    assert [len(losses) for losses in base_line["held"]] == [3] * 4
    assert base_line["drawn"] == [[0.0, 0.0]] * 2
    assert found["at 0.0"] == base_line  # taken off, nothing is left behind
    assert found["at 1.0"]["held"] != base_line["held"]
    drift = [sum(map(sum, found[f"at {by}"]["drawn"])) for by in (0.5, 1.0, 1.0001)]
    assert 0 < drift[0] < drift[1]
    assert drift[2] == pytest.approx(drift[1], rel=0.05)
    before = (tmp_path / "results.jsonl").read_bytes()
    assert run(order, tmp_path) == found
    assert (tmp_path / "results.jsonl").read_bytes() == before
    (tmp_path / "results.jsonl").write_bytes(b"")
    assert run(order, tmp_path) == found  # noise is fixed, the base's pictures are kept


def in_a_child(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "judge-order.json").write_text(json.dumps(order))
    command = [sys.executable, "-m", "lorakit.embedded.judging.measure"]
    subprocess.run([*command, str(folder / "judge-order.json")], check=True, capture_output=True)
    return results(folder)


def here(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    from lorakit.embedded.judging.measure import fill

    fill(order)
    return results(folder)


def results(folder: Path) -> dict[str, Any]:
    lines = (folder / "results.jsonl").read_text().splitlines()
    return {one.pop("cell"): one for one in map(json.loads, lines)}


def test_a_budget_that_is_used_up_leaves_the_rest(tmp_path: Path) -> None:
    from tiny_bases import make_tiny

    base = make_tiny("sd15", tmp_path / "base")
    lora = lora_for(base, "sd15", tmp_path / "a.safetensors")
    jobs = [{"prompt": "a", "width": 64, "height": 64, "steps": 1, "scale": 1.0, "seed": 1}]
    cells = [{"cell": str(n), "lora": lora, "strength": 1.0, "kinds": ["drawn"]} for n in range(3)]
    order = {
        "family": "sd15",
        "options": {"pretrained_model_name_or_path": str(base)},
        "seed": 1,
        "places": PLACES,
        "held": [],
        "train": [],
        "drawn": jobs,
        "drawn_file": str(tmp_path / "drawn.safetensors"),
        "results": str(tmp_path / "results.jsonl"),
        "budget_s": 1e-6,
        "cells": cells,
    }
    (tmp_path / "results.jsonl").touch()
    assert here(order, tmp_path) == {}
    assert list(here({**order, "budget_s": 60}, tmp_path)) == ["base", "0", "1", "2"]


def test_the_passes_that_are_announced_are_the_passes_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_bases import make_tiny

    from lorakit.embedded.judging.measure import fill
    from lorakit.embedded.models import Base
    from lorakit.judge.make import _passes

    base, folder = make_tiny("sd15", tmp_path / "base"), draw_pictures(tmp_path / "held")
    lora, made, predict = lora_for(base, "sd15", tmp_path / "a.safetensors"), [0], Base.predict
    size = {"size": [64, 64], "bucket": [64, 64], "scaled": [64, 64]}
    held = [{"file": str(one), "caption": "a", **size} for one in folder.glob("*.png")]
    jobs = [{"prompt": "a", "width": 64, "height": 64, "steps": 3, "scale": 2.0, "seed": 1}] * 2
    cells = [("a", ["held", "drawn"]), ("b", ["held", "train", "drawn"])]
    order = {
        "family": "sd15",
        "options": {"pretrained_model_name_or_path": str(base)},
        "seed": 1,
        "places": PLACES,
        "held": held,
        "train": held[:2],
        "drawn": jobs,
        "drawn_file": str(tmp_path / "drawn.safetensors"),
        "results": str(tmp_path / "results.jsonl"),
        "budget_s": None,
        "cells": [{"cell": a, "lora": lora, "strength": 1.0, "kinds": kinds} for a, kinds in cells],
    }
    (tmp_path / "results.jsonl").touch()

    def counted(self: Base, denoiser: Any, noisy: Any, *rest: Any, **more: Any) -> Any:
        made[0] += len(noisy)
        return predict(self, denoiser, noisy, *rest, **more)

    monkeypatch.setattr(Base, "predict", counted)
    announced = _passes(order)
    fill(order)
    assert made[0] == announced
