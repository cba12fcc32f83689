"""The real pipelines of diffusers load what `deploy` makes of every form, and draw the same picture with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402 -- after the check that torch is there
from tiny_bases import make_tiny  # noqa: E402

from lorakit.deploy.loaders import LOADERS, converted  # noqa: E402
from lorakit.files import sha256  # noqa: E402
from lorakit.weights.keys import FORMS, read_lora  # noqa: E402
from lorakit.weights.rewrite import convert  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
Made = Callable[[str], tuple[Path, Callable[["Path | None"], Any]]]
VERSIONS = {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0", "flux": "flux1"}
CROSS, PLAIN = ["CrossAttnDownBlock2D"], ["DownBlock2D"]
UP, UP_PLAIN = ["CrossAttnUpBlock2D"], ["UpBlock2D"]
BLOCKS: dict[str, dict[str, Any]] = {  # as many as the real ones have, by which kohya's names count
    "sd15": {
        "down_block_types": CROSS * 3 + PLAIN,
        "up_block_types": UP_PLAIN + UP * 3,
        "block_out_channels": (12,) * 4,
        "cross_attention_dim": 32,
    },
    "sdxl": {
        "down_block_types": PLAIN + CROSS * 2,
        "up_block_types": UP * 2 + UP_PLAIN,
        "block_out_channels": (12,) * 3,
        "transformer_layers_per_block": (1, 2, 3),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32,
        "cross_attention_dim": 64,
    },
}


def pipeline_of(family: str, folder: Path) -> Any:
    import diffusers

    torch.manual_seed(0)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(make_tiny(family, folder))
    if family in BLOCKS:
        unet = diffusers.UNet2DConditionModel(
            sample_size=8, norm_num_groups=4, attention_head_dim=4, **BLOCKS[family]
        )
        pipeline.register_modules(unet=unet)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def peft_lora(pipeline: Any, family: str, path: Path) -> Path:
    """Of every layer that is trained, and some convolutions, under the names that diffusers itself has for them."""
    random, tensors = torch.Generator().manual_seed(2), {}
    parts = {
        key: getattr(pipeline, key, None)
        for key in ("unet", "transformer", "text_encoder", *["text_encoder_2"] * (family == "sdxl"))
    }
    for part, model in parts.items():
        for name, layer in model.named_modules() if model else ():
            if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                continue
            if not any(word in name for word in ("attn", ".proj_in", ".ff.", "resnets.0.conv1")):
                continue
            rows, columns, *kernel = layer.weight.shape
            ones = [1] * len(kernel)
            down = torch.randn(4, columns, *kernel, generator=random)
            up = torch.randn(rows, 4, *ones, generator=random)
            tensors[f"{part}.{name}.lora_A.weight"] = down * 0.2
            tensors[f"{part}.{name}.lora_B.weight"] = up * 0.2
    assert len(tensors) > 40
    save_file(tensors, path, {"ss_base_model_version": VERSIONS[family]})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of a family: a LoRA, and what its pipeline draws with each file, once for the same bytes."""

    @cache
    def of(family: str) -> tuple[Path, Callable[[Path | None], Any]]:
        folder, known = tmp_path_factory.mktemp(family), dict[str, Any]()
        pipeline = pipeline_of(family, folder / family)

        def picture(lora: Path | None) -> Any:
            key = sha256(lora) if lora else ""
            if key not in known:
                known[key] = drawn(pipeline, lora)
            return known[key]

        return peft_lora(pipeline, family, folder / "diffusers.safetensors"), picture

    return of


def drawn(pipeline: Any, lora: Path | None) -> Any:
    if lora:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="one")
        pipeline.set_adapters(["one"], [0.8])
    how = {"num_inference_steps": 2, "height": 64, "width": 64, "output_type": "np"}
    picture = pipeline("a red fox", generator=torch.Generator().manual_seed(3), **how).images[0]
    if lora:
        pipeline.unload_lora_weights()
    return picture


@pytest.mark.parametrize("program", ["diffusers", "a1111", "comfyui"])
@pytest.mark.parametrize("family", ["sd15", "flux", pytest.param("sdxl", marks=pytest.mark.long)])
def test_what_is_delivered_of_every_form_draws_the_same_picture(
    family: str, program: str, tmp_path: Path, made: Made
) -> None:
    source, picture = made(family)
    plain, wanted = picture(None), picture(source)
    assert np.abs(plain - wanted).max() > 0.01
    count = 0
    for form in FORMS:
        given = source if form == source.stem else tmp_path / f"{form}.safetensors"
        if given != source:
            convert(read_lora(source), given, form)
        (tmp_path / form).mkdir()
        file, _ = converted(program, given, tmp_path / form)
        # of FLUX in kohya's form, diffusers' converter knows the real width alone
        if read_lora(file).form in LOADERS["diffusers"][family][family == "flux" :]:
            assert np.abs(picture(file) - wanted).max() < 1e-3
            count += 1
    assert count >= 1 + (family != "flux")
