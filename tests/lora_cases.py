"""Small LoRA files with random numbers, as kohya names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lorakit.weights.adapters import Array, read_array, stored
from lorakit.weights.safetensors import read_header, write

WIDTH = 16
FLUX = {
    "double_blocks.0.img_attn.qkv": (3 * WIDTH, WIDTH),
    "double_blocks.0.img_mlp.0": (4 * WIDTH, WIDTH),
    "double_blocks.0.txt_attn.proj": (WIDTH, WIDTH),
    "single_blocks.3.linear1": (7 * WIDTH, WIDTH),
    "single_blocks.3.modulation.lin": (3 * WIDTH, WIDTH),
}


def save(
    path: Path,
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
    dtype: str = "F32",
) -> Path:
    kept = {name: stored(array, dtype) for name, array in tensors.items()}
    write(
        path,
        {name: one[:2] for name, one in kept.items()},
        metadata or {},
        (one[2] for one in kept.values()),
    )
    return path


def random(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def kohya_flux(
    path: Path, *, rank: int = 4, alpha: float = 2.0, seed: int = 1, dtype: str = "F32"
) -> Path:
    tensors = {}
    for name, (rows, columns) in FLUX.items():
        head = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{head}.lora_down.weight"] = random(rank, columns, seed=seed)
        tensors[f"{head}.lora_up.weight"] = random(rows, rank, seed=seed + 1)
        tensors[f"{head}.alpha"] = np.array(alpha, dtype=np.float32)
    tensors["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = random(rank, 8)
    tensors["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = random(32, rank)
    return save(path, tensors, {"ss_base_model_version": "flux1", "ss_tag_frequency": "{}"}, dtype)


def kohya_unet(path: Path, family: str) -> Path:
    """A U-Net's LoRA with a linear layer, a 1x1 and a 3x3 convolution, named as kohya names them."""
    own = {
        "sdxl": ("input_blocks_4_1", "input_blocks_4_0_in_layers_2"),
        "sd15": ("down_blocks_0_attentions_0", "down_blocks_0_resnets_0_conv1"),
    }
    block, conv = own[family]
    tensors = {
        f"lora_unet_{block}_transformer_blocks_0_attn2_to_k.lora_down.weight": random(
            4, {"sd15": 768, "sdxl": 2048}[family]
        ),
        f"lora_unet_{block}_transformer_blocks_0_attn2_to_k.lora_up.weight": random(12, 4),
        f"lora_unet_{block}_proj_in.lora_down.weight": random(4, 12, 1, 1),
        f"lora_unet_{block}_proj_in.lora_up.weight": random(12, 4, 1, 1),
        f"lora_unet_{conv}.lora_down.weight": random(4, 12, 3, 3),
        f"lora_unet_{conv}.lora_up.weight": random(12, 4, 1, 1),
    }
    heads = {key.partition(".")[0] for key in tensors}
    tensors |= {f"{head}.alpha": np.array(2.0, dtype=np.float32) for head in heads}
    version = {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0"}[family]
    return save(path, tensors, {"ss_base_model_version": version})


def arrays(path: Path) -> dict[str, Array]:
    header = read_header(path)
    with path.open("rb") as file:
        return {name: read_array(file, header, name) for name in header.tensors}
