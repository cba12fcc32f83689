"""Pictures from bases and LoRAs: strength is exact, taking a LoRA off leaves nothing behind, seeds alone decide the noise."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lorakit.embedded.drawing.generate import Studio

pytestmark = pytest.mark.slow

PROMPT = {
    "prompt": "a red circle",
    "negative": "",
    "width": 64,
    "height": 64,
    "steps": 2,
    "scale": 3.0,
    "seed": 5,
}
ONE_LAYER = {
    "sd15": "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    "sdxl": "lora_unet_input_blocks_1_0_in_layers_2",
    "flux": "lora_unet_double_blocks_0_img_attn_qkv",
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tiny_bases import make_tiny

    return {
        family: make_tiny(family, tmp_path_factory.mktemp(family))
        for family in ("sd15", "sdxl", "flux")
    }


def studio(base: Path, family: str) -> Studio:
    import torch

    from lorakit.embedded.drawing.generate import Studio
    from lorakit.embedded.models import open_base

    return Studio(
        open_base(argparse.Namespace(pretrained_model_name_or_path=str(base)), family),
        "cpu",
        torch.float32,
    )


def lora_for(room: Studio, name: str, path: Path, alpha: float = 4.0) -> str:
    import torch
    from safetensors.torch import save_file

    weight = room.layers[name].weight
    down = torch.randn(8, *weight.shape[1:], generator=torch.Generator().manual_seed(1))
    up = torch.randn(
        weight.shape[0], 8, *(1,) * (weight.ndim - 2), generator=torch.Generator().manual_seed(2)
    )
    save_file(
        {
            f"{name}.lora_down.weight": down,
            f"{name}.lora_up.weight": up,
            f"{name}.alpha": torch.tensor(alpha),
        },
        path,
    )
    return str(path)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_a_lora_changes_the_picture_and_leaves_no_trace(
    bases: dict[str, Path], family: str, tmp_path: Path
) -> None:
    import torch

    room = studio(bases[family], family)
    lora = lora_for(room, ONE_LAYER[family], tmp_path / "l.safetensors")
    before = {name: layer.weight.clone() for name, layer in room.layers.items()}
    plain = room.draw([PROMPT])[0].tobytes()
    with room.wearing((lora, 1.0)):
        worn = room.draw([PROMPT])[0].tobytes()
    assert worn != plain
    assert all(torch.equal(layer.weight, before[name]) for name, layer in room.layers.items())
    with room.wearing((lora, 0.0)):
        assert room.draw([PROMPT])[0].tobytes() == plain


def test_strength_times_alpha_over_rank_is_what_is_added(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    room = studio(bases["sd15"], "sd15")
    name = ONE_LAYER["sd15"]
    lora = lora_for(room, name, tmp_path / "l.safetensors")
    file, before = load_file(lora), room.layers[name].weight.clone()
    with room.wearing((lora, 0.6)):
        added = room.layers[name].weight - before
    assert torch.allclose(
        added,
        0.6 * 4 / 8 * file[f"{name}.lora_up.weight"] @ file[f"{name}.lora_down.weight"],
        atol=1e-5,
    )


def test_several_loras_add_up_and_come_off_to_the_last_bit(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    import torch

    room, name = studio(bases["sd15"], "sd15"), ONE_LAYER["sd15"]
    lora = lora_for(room, name, tmp_path / "l.safetensors")
    before = room.layers[name].weight.clone()
    with room.wearing((lora, 0.6), (lora, 0.4)) as names:
        both = room.layers[name].weight.clone()
    assert names == {name}
    assert torch.equal(room.layers[name].weight, before)
    with room.wearing((lora, 1.0)):
        assert torch.allclose(room.layers[name].weight, both, atol=1e-6)


def test_a_lora_in_a_form_that_is_not_read_is_refused_and_never_drawn_as_the_base(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    from lorakit.errors import SetupError

    save_file({"somewhere.else.weight": torch.ones(2)}, tmp_path / "l.safetensors")
    room = studio(bases["sd15"], "sd15")
    with (
        pytest.raises(SetupError, match="none of its keys has a form that can be drawn with"),
        room.wearing((str(tmp_path / "l.safetensors"), 1.0)),
    ):
        pass


def test_pictures_drawn_together_are_those_drawn_alone(bases: dict[str, Path]) -> None:
    room = studio(bases["sd15"], "sd15")
    other = {**PROMPT, "prompt": "a house", "seed": 6}
    together = room.draw([PROMPT, other])
    alone = [room.draw([prompt])[0] for prompt in (PROMPT, other)]
    for a, b in zip(together, alone, strict=True):
        assert max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes(), strict=True)) <= 1


def test_the_script_fills_an_order_and_a_strange_lora_is_named(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    room = studio(bases["sd15"], "sd15")
    lora = Path(lora_for(room, ONE_LAYER["sd15"], tmp_path / "l.safetensors"))
    column = {
        "loras": [[str(lora), 1.0]],
        "pictures": [{**PROMPT, "file": str(tmp_path / "a.png")}],
    }
    order = {
        "family": "sd15",
        "options": {"pretrained_model_name_or_path": str(bases["sd15"])},
        "columns": [column],
    }
    (tmp_path / "order.json").write_text(json.dumps(order))
    command = [
        sys.executable,
        "-m",
        "lorakit.embedded.drawing.generate",
        str(tmp_path / "order.json"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file()
    (tmp_path / "a.png").unlink()
    order["options"] = {"pretrained_model_name_or_path": str(bases["sdxl"])}
    order["family"] = "sdxl"
    (tmp_path / "order.json").write_text(json.dumps(order))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 1
    assert "fits no layer of" in done.stderr
    assert "Traceback" not in done.stderr
