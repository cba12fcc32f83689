"""Keys, shapes and alphas of our LoRA for the full-size SDXL and FLUX are those of sd-scripts' own networks; nothing of the models is in memory."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.models import opening  # noqa: E402
from lorakit.embedded.models.clip import CLIPText  # noqa: E402
from lorakit.embedded.models.flux import Flux  # noqa: E402
from lorakit.embedded.models.unet import UNet  # noqa: E402
from lorakit.embedded.models.weights import on_meta  # noqa: E402
from lorakit.embedded.network import targets  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network  # noqa: E402
from lorakit.proc import ask  # noqa: E402 -- after the check that torch is there
from lorakit.trainers.kohya.locate import require  # noqa: E402

pytestmark = pytest.mark.real
DEV = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}


def theirs(folder: Path) -> dict[str, dict[str, list[int]]]:
    out, place = folder / "keys.json", require()
    argv = [
        str(place.python),
        str(Path(__file__).with_name("lora_keys.py")),
        str(place.directory),
        str(out),
    ]
    answer = ask(
        argv, timeout_s=600, cwd=folder, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert answer.code == 0, answer.err[-2000:]
    found: dict[str, dict[str, list[int]]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def encoders(family: str) -> list[Any]:
    configs = json.loads(
        (Path(opening.__file__).parent / "configs" / f"{family}.json").read_text(encoding="utf-8")
    )["text"]
    chosen = configs[:1] if family == "flux" else configs
    return [
        on_meta(partial(CLIPText, config, projection=number == 1))
        for number, config in enumerate(chosen)
    ]


def ours(family: str, network_args: list[str] | None = None) -> dict[str, list[int]]:
    args = Namespace(
        network_module="networks.lora",
        network_dim=4,
        network_alpha=2.0,
        network_args=network_args,
        network_train_text_encoder_only=False,
    )
    if family == "flux":
        denoiser: Any = on_meta(lambda: Flux(DEV))
    else:
        config = json.loads(
            (Path(opening.__file__).parent / "configs" / "sdxl.json").read_text(encoding="utf-8")
        )["unet"]
        denoiser = on_meta(lambda: UNet(config))
    shapes = targets.shapes(args, family, denoiser, encoders(family))
    network = Network(shapes, Dropout(), seed=1, device="cpu", dtype=torch.float32)
    return {name: list(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.usefixtures("sd_scripts")
def test_every_key_and_shape_is_theirs(tmp_path: Path) -> None:
    found = theirs(tmp_path)
    for name, mine in {
        "sdxl": ours("sdxl"),
        "sdxl conv": ours("sdxl", ["conv_dim=2", "conv_alpha=1"]),
        "flux": ours("flux"),
    }.items():
        assert sorted(mine) == sorted(found[name]), name
        assert mine == found[name], name
