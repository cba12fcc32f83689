"""The same mathematics as the real sd-scripts, and files that its own tools read."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402 -- after the check that torch is there
from tiny_bases import make_tiny  # noqa: E402

from lorakit.embedded.models import open_base  # noqa: E402
from lorakit.embedded.network import targets  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network  # noqa: E402
from lorakit.proc import ask  # noqa: E402
from lorakit.trainers.kohya.locate import require  # noqa: E402

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("sd_scripts")
@pytest.mark.parametrize(
    "case", ["plain", "weighed", "conv", "v", "flux", "flux-masked", "alpha", "masks"]
)
def test_losses_gradients_and_the_lora_are_those_of_sd_scripts(case: str, tmp_path: Path) -> None:
    argv = [
        sys.executable,
        str(ROOT / "tools" / "parity.py"),
        "--case",
        case,
        "--steps",
        "3",
        "--keep",
        str(tmp_path),
    ]
    answer = ask(argv, timeout_s=3600, cwd=ROOT)
    assert answer.code == 0, answer.out[-2000:] + answer.err[-2000:]
    assert "keys, shapes, types, alphas equal" in answer.out


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA as the embedded trainer writes it, on a tiny base, with something in it."""
    base = open_base(
        Namespace(pretrained_model_name_or_path=str(make_tiny("sd15", tmp_path / "base"))), "sd15"
    )
    args = Namespace(
        network_module="networks.lora",
        network_dim=4,
        network_alpha=2.0,
        network_args=None,
        network_train_text_encoder_only=False,
    )
    network = Network(
        targets.shapes(args, "sd15", base.load_denoiser(torch.float32, "cpu"), ()),
        Dropout(),
        seed=1,
        device="cpu",
        dtype=torch.float32,
    )
    with torch.no_grad():
        for adapter in network.adapters:
            adapter.up.normal_()
    save_file(
        network.state_dict(),
        tmp_path / "lora.safetensors",
        metadata={"ss_network_dim": "4", "ss_network_alpha": "2.0"},
    )
    return tmp_path / "lora.safetensors"


def tool(sd_scripts: Path, name: str, *arguments: str) -> str:
    answer = ask(
        [str(require().python), str(sd_scripts / "networks" / name), *arguments],
        timeout_s=300,
        env={**os.environ, "PYTHONPATH": str(sd_scripts), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert answer.code == 0, answer.err[-2000:]
    return answer.out + answer.err


def test_check_lora_weights_reads_our_file(sd_scripts: Path, lora: Path) -> None:
    said = tool(sd_scripts, "check_lora_weights.py", str(lora))
    count = len(load_file(lora))
    assert f"number of LoRA modules: {count // 3 * 2}" in said


def test_resize_lora_halves_our_rank(sd_scripts: Path, lora: Path, tmp_path: Path) -> None:
    tool(
        sd_scripts,
        "resize_lora.py",
        "--model",
        str(lora),
        "--save_to",
        str(tmp_path / "small.safetensors"),
        "--new_rank",
        "2",
        "--save_precision",
        "float",
        "--device",
        "cpu",
    )
    small, whole = load_file(tmp_path / "small.safetensors"), load_file(lora)
    assert {key for key in small if "alpha" not in key} == {
        key for key in whole if "alpha" not in key
    }
    assert all(len(value) <= 2 for key, value in small.items() if "lora_down" in key)
