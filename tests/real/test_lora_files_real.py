"""sd-scripts' own tools for LoRA files compute what ours compute."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from lora_cases import arrays, kohya_unet, random, save

from lorakit.proc import ask
from lorakit.trainers.kohya.locate import require
from lorakit.weights.keys import read_lora
from lorakit.weights.rewrite import convert, cut_ranks, delta_error

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("sd_scripts")]


def run(folder: Path, script: str, *words: str) -> None:
    place = require()
    argv = [str(place.python), str(place.directory / "networks" / script), *words]
    path = os.pathsep.join([str(place.directory), str(place.directory / "networks")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    answer = ask(argv, timeout_s=280, cwd=folder, env=env)
    assert answer.code == 0, answer.err[-2000:]


def test_their_flux_converter_and_ours_agree_in_both_directions(tmp_path: Path) -> None:
    tensors = {}
    for name, share in {
        "double_blocks_0_img_attn_qkv": 3,
        "single_blocks_0_linear1": 7,
        "double_blocks_0_img_mod_lin": 6,
    }.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = random(4, 3072)
        tensors[f"lora_unet_{name}.lora_up.weight"] = random(share * 3072, 4)
        tensors[f"lora_unet_{name}.alpha"] = np.array(2.0, dtype=np.float32)
    source = save(tmp_path / "k.safetensors", tensors, {"ss_base_model_version": "flux1"})
    run(
        tmp_path,
        "convert_flux_lora.py",
        "--src",
        "sd-scripts",
        "--dst",
        "ai-toolkit",
        "--src_path",
        str(source),
        "--dst_path",
        "theirs.safetensors",
    )
    convert(read_lora(source), tmp_path / "ours.safetensors", "diffusers")
    theirs, ours = arrays(tmp_path / "theirs.safetensors"), arrays(tmp_path / "ours.safetensors")
    assert theirs.keys() == ours.keys()
    for key in theirs:
        if key.endswith("lora_A.weight"):
            up = key.replace("lora_A", "lora_B")
            assert np.allclose(
                ours[up] @ ours[key][:, :8], theirs[up] @ theirs[key][:, :8], atol=1e-4
            )
    run(
        tmp_path,
        "convert_flux_lora.py",
        "--src",
        "ai-toolkit",
        "--dst",
        "sd-scripts",
        "--src_path",
        "ours.safetensors",
        "--dst_path",
        "back.safetensors",
    )
    back = arrays(tmp_path / "back.safetensors")
    for name in ("double_blocks_0_img_attn_qkv", "single_blocks_0_linear1"):
        head = f"lora_unet_{name}"
        scale = float(back[f"{head}.alpha"]) / len(back[f"{head}.lora_down.weight"])
        found = scale * back[f"{head}.lora_up.weight"] @ back[f"{head}.lora_down.weight"][:, :8]
        wanted = (
            0.5 * tensors[f"{head}.lora_up.weight"] @ tensors[f"{head}.lora_down.weight"][:, :8]
        )
        assert np.allclose(found, wanted, atol=1e-4)


def test_their_resizing_and_ours_leave_the_same_delta(tmp_path: Path) -> None:
    source = kohya_unet(tmp_path / "big.safetensors", "sdxl")
    run(
        tmp_path,
        "resize_lora.py",
        "--model",
        str(source),
        "--save_to",
        "theirs.safetensors",
        "--new_rank",
        "2",
        "--new_conv_rank",
        "2",
        "--save_precision",
        "float",
        "--device",
        "cpu",
    )
    cut_ranks(read_lora(source), tmp_path / "ours.safetensors", 2)
    assert (
        delta_error(
            read_lora(tmp_path / "theirs.safetensors"), read_lora(tmp_path / "ours.safetensors")
        )
        < 1e-4
    )
