"""diffusers and PEFT read what we convert, and find in it what they find in the file that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lora_cases import arrays, kohya_unet, random, save

torch = pytest.importorskip("torch")

from lorakit.weights.adapters import Array  # noqa: E402 -- after the check that torch is there
from lorakit.weights.keys import read_lora  # noqa: E402
from lorakit.weights.rewrite import convert  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WIDTH = 3072  # diffusers' converter knows FLUX's real width alone


def deltas(state: dict[str, Any]) -> dict[str, Array]:
    found = {}
    for key, value in state.items():
        if key.endswith(".lora_A.weight"):
            head = key.removesuffix(".lora_A.weight")
            up, down = np.asarray(state[f"{head}.lora_B.weight"]), np.asarray(value)
            found[head] = up @ down[:, :16]
    return found


def test_diffusers_own_converter_makes_the_same_of_a_flux_lora(tmp_path: Path) -> None:
    from diffusers.loaders import FluxLoraLoaderMixin

    layers = {
        "double_blocks_0_img_attn_qkv": 3,
        "double_blocks_0_txt_mlp_2": 1,
        "single_blocks_0_linear1": 7,
        "single_blocks_0_modulation_lin": 3,
    }
    tensors = {}
    for name, share in layers.items():
        columns = 4 * WIDTH if name.endswith("mlp_2") else WIDTH
        tensors[f"lora_unet_{name}.lora_down.weight"] = random(4, columns)
        tensors[f"lora_unet_{name}.lora_up.weight"] = random(share * WIDTH, 4)
        tensors[f"lora_unet_{name}.alpha"] = np.array(3.0, dtype=np.float32)
    source = save(tmp_path / "k.safetensors", tensors, {"ss_base_model_version": "flux1"})
    theirs = deltas(
        FluxLoraLoaderMixin.lora_state_dict(
            {key: torch.from_numpy(one) for key, one in tensors.items()}
        )
    )
    convert(read_lora(source), tmp_path / "d.safetensors", "diffusers")
    ours = deltas(arrays(tmp_path / "d.safetensors"))
    assert ours.keys() == theirs.keys() and len(ours) == 3 + 1 + 4 + 1
    assert all(np.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_peft_gets_the_same_layers_from_every_form(family: str, form: str, tmp_path: Path) -> None:
    from diffusers.loaders import StableDiffusionXLLoraLoaderMixin as Loader
    from diffusers.models import UNet2DConditionModel

    width, channels = (
        {"sd15": 768, "sdxl": 2048}[family],
        {"sd15": (12, 12, 12, 12), "sdxl": (12, 12, 12)}[family],
    )
    cross, plain = ["CrossAttnDownBlock2D"], ["DownBlock2D"]
    down = cross * 3 + plain if family == "sd15" else plain + cross * 2
    up = (
        ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
        if family == "sd15"
        else ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"]
    )
    unet = UNet2DConditionModel(
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=width,
        norm_num_groups=4,
        attention_head_dim=4,
        use_linear_projection=False,
    )
    source = read_lora(kohya_unet(tmp_path / "source.safetensors", family))
    convert(source, tmp_path / "other.safetensors", form)
    found: list[dict[str, Any]] = []
    for name in ("source", "other"):
        state, alphas = Loader.lora_state_dict(
            str(tmp_path / f"{name}.safetensors"), unet_config=unet.config
        )[:2]
        Loader.load_lora_into_unet(state, alphas, unet, adapter_name=name)
        layers = [
            (path, one) for path, one in unet.named_modules() if hasattr(one, "get_delta_weight")
        ]
        found.append(
            {path: one.get_delta_weight(name) for path, one in layers if name in one.lora_A}
        )
    assert found[0].keys() == found[1].keys() and len(found[0]) == 3
    assert all(torch.allclose(found[0][path], found[1][path], atol=1e-5) for path in found[0])
