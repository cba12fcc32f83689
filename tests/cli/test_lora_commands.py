"""inspect, convert, resize, merge and strip, as somebody types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lorakit.cli.main import main
from lorakit.weights.adapters import stored
from lorakit.weights.safetensors import read_header, write

HEAD = "lora_unet_double_blocks_{}_img_attn_proj"
SAID = {
    "ss_base_model_version": "flux1",
    "ss_dataset_dirs": json.dumps({"10_maya_char": {"n_repeats": 10, "img_count": 4}}),
    "ss_learning_rate": "0.0001",
    "ss_steps": "400",
}


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    random, tensors = np.random.default_rng(0), {}
    for block in range(3):
        head = HEAD.format(block)
        tensors[f"{head}.lora_down.weight"] = stored(random.standard_normal((4, 16)), "F16")
        up = random.standard_normal((16, 4)) * (block != 1)
        tensors[f"{head}.lora_up.weight"] = stored(up, "F16")
        tensors[f"{head}.alpha"] = stored(np.array(2.0), "F16")
    path = tmp_path / "maya.safetensors"
    write(
        path,
        {name: one[:2] for name, one in tensors.items()},
        SAID,
        (one[2] for one in tensors.values()),
    )
    return path


def test_inspect_says_what_a_file_is(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(lora)]) == 0
    out = capsys.readouterr().out
    for word in ("flux", "kohya", "maya_char (a guess", "0.0001", "400", "norm of double_blocks.2"):
        assert word in out
    assert "1 are zero, so they do nothing: double_blocks.1.img_attn.proj" in out
    assert main(["inspect", str(lora), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ranks"], facts["alphas"], facts["kinds"]) == ({"4": 3}, {"2.0": 3}, {"LoRA": 3})
    assert facts["autov2"] == __import__("hashlib").sha256(lora.read_bytes()).hexdigest()[:10]


def test_inspect_finds_nan_and_ends_with_1(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(lora.read_bytes())
    tensor = read_header(lora).tensors[f"{HEAD.format(2)}.lora_up.weight"]
    at = read_header(lora).begin + tensor.start
    data[at : at + 2] = b"\x00\x7e"
    lora.write_bytes(data)
    assert main(["inspect", str(lora)]) == 1
    assert (
        "1 hold NaN or infinity, so the file is broken: double_blocks.2" in capsys.readouterr().out
    )


def test_a_file_of_two_gigabytes_is_inspected_from_its_header(tmp_path: Path) -> None:
    path, tensors = tmp_path / "huge.safetensors", {}
    for block in range(1000):
        tensors[f"lora_unet_blocks_{block}_ffn_0.lora_down.weight"] = ("F32", (128, 2048))
        tensors[f"lora_unet_blocks_{block}_ffn_0.lora_up.weight"] = ("F32", (2048, 128))
    write(path, tensors, {}, None)
    assert path.stat().st_size > 2_000_000_000
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lorakit", "inspect", str(path)], capture_output=True, text=True
    )
    print(f"inspected in {time.perf_counter() - began:.2f} s with Python's own start")
    assert done.returncode == 0 and "model x 1000" in done.stdout and "--numbers" in done.stdout


def test_the_commands_follow_one_another(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lora.parent
    assert main(["convert", str(lora), "--to", "comfy"]) == 0
    assert "delta-W equal to" in capsys.readouterr().out
    assert main(["resize", str(folder / "maya-comfy.safetensors"), "--rank", "2"]) == 0
    out = capsys.readouterr().out
    assert "double_blocks.0" in out and "of delta-W lost" in out
    small = folder / "maya-comfy-r2.safetensors"
    assert main(["merge", f"{lora}=0.5", str(small), "-o", str(folder / "sum.safetensors")]) == 0
    assert main(["strip", str(lora)]) == 0
    assert "without ss_dataset_dirs, ss_learning_rate, ss_steps" in capsys.readouterr().out
    assert main(["strip", str(lora)]) == 1  # it is there now
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspect", "missing.safetensors"], "there is no such file"),
        (["merge", "maya.safetensors=much", "-o", "x.safetensors"], "'much' is no weight"),
        (["resize", "maya.safetensors", "--rank", "0"], "a rank is 1 or more"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    words: list[str],
    told: str,
    lora: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(lora.parent)
    assert main(words) == 1
    assert told in capsys.readouterr().err
