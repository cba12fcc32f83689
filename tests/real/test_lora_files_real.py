"""sd-scripts' own tools for LoRA files compute what ours compute."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from lora_cases import FLUX, arrays, kohya_flux, kohya_unet, random, save

from lorakit.proc import ask
from lorakit.trainers.kohya.locate import require
from lorakit.weights.adapters import Array, read_array
from lorakit.weights.keys import read_lora
from lorakit.weights.rewrite import convert, cut_ranks, delta_error, merge_into_base, merge_loras
from lorakit.weights.safetensors import read_header

pytestmark = pytest.mark.real


@pytest.fixture
def scripts(sd_scripts: Path) -> None:
    """Whose networks/ is run here."""
    del sd_scripts


def run(folder: Path, script: str, *words: str) -> None:
    place = require()
    argv = [str(place.python), str(place.directory / "networks" / script), *words]
    path = os.pathsep.join([str(place.directory), str(place.directory / "networks")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    answer = ask(argv, timeout_s=280, cwd=folder, env=env)
    assert answer.code == 0, answer.err[-2000:]


@pytest.mark.usefixtures("scripts")
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


@pytest.mark.usefixtures("scripts")
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


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(
    ("script", "family"), [("merge_lora.py", "sd15"), ("sdxl_merge_lora.py", "sdxl")]
)
def test_their_merging_of_loras_and_ours_leave_the_same_delta(
    script: str, family: str, tmp_path: Path
) -> None:
    one = kohya_unet(tmp_path / "one.safetensors", family)
    doubled = {
        key: array if key.endswith("alpha") else 2 * array for key, array in arrays(one).items()
    }
    other = save(tmp_path / "other.safetensors", doubled, dict(read_lora(one).header.metadata))
    words = ("--models", str(one), str(other), "--ratios", "0.5", "1.0", "--concat")
    run(tmp_path, script, *words, "--save_to", "theirs.safetensors", "--save_precision", "float")
    # theirs multiplies both factors by the weight: 0.5 there is a quarter
    merge_loras([(read_lora(one), 0.25), (read_lora(other), 1.0)], tmp_path / "ours.safetensors")
    theirs, ours = (read_lora(tmp_path / f"{who}.safetensors") for who in ("theirs", "ours"))
    assert {one.name for one in theirs.modules} == {one.name for one in ours.modules}
    # and keeps the alpha of one, although the ranks add up: half of what it was meant to be
    halved = [(read_lora(one), 0.125), (read_lora(other), 0.5)]
    merge_loras(halved, tmp_path / "half.safetensors")
    assert delta_error(read_lora(tmp_path / "half.safetensors"), theirs) < 1e-5


@pytest.mark.usefixtures("scripts")
def test_their_merging_into_a_flux_base_and_ours_write_the_same_tensors(tmp_path: Path) -> None:
    layers = {
        f"{name}.weight": random(rows, columns, seed=9) for name, (rows, columns) in FLUX.items()
    }
    base = save(tmp_path / "base.safetensors", {**layers, "img_in.bias": random(16)})
    found = arrays(kohya_flux(tmp_path / "with_text.safetensors"))
    kept = {key: array for key, array in found.items() if "lora_te1" not in key}
    lora = save(tmp_path / "lora.safetensors", kept, {"ss_base_model_version": "flux1"})
    words = ("--flux_model", str(base), "--models", str(lora), "--ratios", "0.7")
    target = ("--save_to", str(tmp_path / "theirs.safetensors"), "--save_precision", "float")
    run(
        tmp_path,
        "flux_merge_lora.py",
        *words,
        *target,
        "--loading_device",
        "cpu",
        "--working_device",
        "cpu",
    )
    merge_into_base(base, [(read_lora(lora), 0.7)], tmp_path / "ours.safetensors")
    theirs, ours = (arrays(tmp_path / f"{who}.safetensors") for who in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    assert all(np.allclose(theirs[key], ours[key], atol=1e-5) for key in theirs)
    assert not np.allclose(ours["double_blocks.0.img_attn.qkv.weight"], layers["double_blocks.0.img_attn.qkv.weight"])  # fmt: skip


def test_musubis_converter_and_ours_agree_in_both_directions(
    musubi_tuner: Path, tmp_path: Path
) -> None:
    tensors = {}
    for name in ("layers_0_attention_to_q", "layers_1_feed_forward_w2"):
        tensors[f"lora_unet_{name}.lora_down.weight"] = random(4, 16)
        tensors[f"lora_unet_{name}.lora_up.weight"] = random(16, 4)
        tensors[f"lora_unet_{name}.alpha"] = np.array(2.0, dtype=np.float32)
    said = {"ss_base_model_version": "zimage", "modelspec.architecture": "Z-Image/lora"}
    source = save(tmp_path / "k.safetensors", tensors, said)

    def theirs(given: Path, to: str) -> Path:
        made = tmp_path / f"theirs-{to}.safetensors"
        script = musubi_tuner / "src/musubi_tuner/convert_lora.py"
        words = ["--input", str(given), "--output", str(made), "--target", to]
        env = {**os.environ, "PYTHONPATH": str(musubi_tuner / "src")}
        python = os.environ["LORAKIT_MUSUBI_PYTHON"]
        answer = ask([python, str(script), *words], timeout_s=280, cwd=tmp_path, env=env)
        assert answer.code == 0, answer.err[-2000:]
        return made

    convert(read_lora(source), tmp_path / "ours.safetensors", "comfy")
    ours, other = arrays(tmp_path / "ours.safetensors"), arrays(theirs(source, "other"))
    assert ours.keys() == other.keys()
    for key in (key for key in ours if key.endswith("lora_A.weight")):
        up = key.replace("lora_A", "lora_B")
        assert np.allclose(ours[up] @ ours[key], other[up] @ other[key], atol=1e-5)
    back = read_lora(theirs(tmp_path / "ours.safetensors", "default"))
    assert delta_error(read_lora(source), back) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_their_merging_into_an_sd15_base_and_ours_write_the_same_tensors(
    stand_ins: Path, tmp_path: Path
) -> None:
    base = next(stand_ins.glob("sd15-*.safetensors"))
    block = "down_blocks_0_attentions_0"
    shapes = {
        f"{block}_transformer_blocks_0_attn2_to_k": ((4, 768), (320, 4)),
        f"{block}_proj_in": ((4, 320, 1, 1), (320, 4, 1, 1)),
    }
    tensors = {}
    for name, (down, up) in shapes.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = random(*down)
        tensors[f"lora_unet_{name}.lora_up.weight"] = random(*up)
        tensors[f"lora_unet_{name}.alpha"] = np.array(2.0, dtype=np.float32)
    lora = save(tmp_path / "lora.safetensors", tensors, {"ss_base_model_version": "sd_v1"})
    words = ("--sd_model", str(base), "--models", str(lora), "--ratios", "0.7")
    run(
        tmp_path,
        "merge_lora.py",
        *words,
        "--save_to",
        "theirs.safetensors",
        "--save_precision",
        "fp16",
    )
    merge_into_base(base, [(read_lora(lora), 0.7)], tmp_path / "ours.safetensors")
    at = "model.diffusion_model.input_blocks.1.1"
    for name in (f"{at}.transformer_blocks.0.attn2.to_k.weight", f"{at}.proj_in.weight"):
        theirs, ours, before = (
            one_array(path, name)
            for path in (tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors", base)
        )
        assert np.allclose(theirs, ours, atol=2e-3, rtol=2e-3), name
        assert not np.allclose(ours, before, atol=0.1)


def one_array(path: Path, name: str) -> Array:
    with path.open("rb") as file:
        return read_array(file, read_header(path), name)
