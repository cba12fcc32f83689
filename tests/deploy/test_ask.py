"""`deploy --check URL` against doubles of ComfyUI and A1111 that refuse what those refuse: unknown nodes, inputs, links and
names; and that answer with errors, half answers and silence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from user_interfaces import A1111Double, ComfyDouble, serving

from lorakit.deploy.loaders import ask_to_draw
from lorakit.errors import LorakitError
from lorakit.sheet import interfaces
from lorakit.weights.finite import inspect
from lorakit.weights.safetensors import write


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "train.toml").write_text(
        'pretrained_model_name_or_path = "/m/base.safetensors"\noutput_name = "maya"\nresolution = "512"\n'
    )
    (tmp_path / "record.json").write_text(json.dumps({"schema": 1, "family": "sd15"}))
    tensors = {"lora_unet_a.lora_up.weight": ("F32", (1,))}
    write(tmp_path / "maya.safetensors", tensors, {"ss_steps": "4"}, [bytes([1] * 4)])
    return tmp_path


def comfy(**how: Any) -> ComfyDouble:
    return ComfyDouble({"maya.safetensors": {"ss_steps": "4"}}, **how)


def a1111(run_dir: Path, **how: Any) -> A1111Double:
    return A1111Double({"maya": inspect(run_dir / "maya.safetensors").tensors_sha256 or ""}, **how)


def asked(run_dir: Path, program: str, double: Any) -> str:
    with serving(double) as url:
        return ask_to_draw(program, f"{url}/", run_dir, run_dir / "maya.safetensors")


@pytest.mark.parametrize("newer", [False, True])
def test_comfyui_draws_one_small_step_with_the_lora(run_dir: Path, newer: bool) -> None:
    double = comfy(newer=newer)
    said = asked(run_dir, "comfyui", double)
    assert "drew with maya.safetensors" in said
    assert "in its own terminal only: lora key not loaded" in said
    (graph,) = double.graphs
    assert graph["2"]["inputs"]["lora_name"] == "maya.safetensors"
    assert graph["7"]["inputs"]["steps"] == 1 and graph["6"]["inputs"]["width"] == 64


@pytest.mark.parametrize("program", ["a1111", "forge"])
def test_a1111_and_forge_name_what_they_loaded_by_its_hash(run_dir: Path, program: str) -> None:
    double = a1111(run_dir)
    assert "loaded maya and drew with it" in asked(run_dir, program, double)
    assert [one["steps"] for one in double.orders] == [1]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"loras": {"mia.safetensors": {}}}, "has no maya.safetensors. Did you mean mia"),
        ({"loras": {"maya.safetensors": {"ss_steps": "9"}}}, "has another LoRA as maya"),
        ({"bases": ["other.safetensors"]}, "has no base.safetensors"),
        ({"fails": "out of memory"}, "could not draw: out of memory"),
        ({"lacks": "LoraLoader"}, "has no node LoraLoader"),
    ],
)
def test_what_comfyui_refuses_is_said_here(run_dir: Path, how: dict[str, Any], said: str) -> None:
    loras = {"loras": {"maya.safetensors": {"ss_steps": "4"}}}
    with pytest.raises(LorakitError, match=said):
        asked(run_dir, "comfyui", ComfyDouble(**{**loras, **how}))


def test_another_file_of_that_name_and_one_that_was_not_loaded_are_told(run_dir: Path) -> None:
    for double in (A1111Double({"maya": "f" * 64}), a1111(run_dir, loads=False)):
        with pytest.raises(LorakitError, match="not with this maya"):
            asked(run_dir, "a1111", double)
    with pytest.raises(LorakitError, match="has no maya"):
        asked(run_dir, "a1111", A1111Double({"mina": "f" * 64}))


def test_nobody_is_there(run_dir: Path) -> None:
    lora = run_dir / "maya.safetensors"
    with pytest.raises(LorakitError, match="gives no answer"):
        ask_to_draw("a1111", "http://127.0.0.1:9", run_dir, lora)


def test_a_queue_that_never_moves_is_given_up(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "PATIENCE_S", 0.3)
    double = comfy(looks=100)
    with pytest.raises(LorakitError, match="drew nothing within"):
        asked(run_dir, "comfyui", double)
    assert double.deleted == ["0"]
