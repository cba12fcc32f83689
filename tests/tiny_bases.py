"""Random bases of a few megabytes in the shape of SD1.5, SDXL and FLUX: diffusers folders with
tokenizers, for tests and rehearsals.

They draw nothing, but every line of a training run works on them, at 64 pixels, in milliseconds.
The seed decides every byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn

from lorakit import data
from lorakit.embedded.models.clip import CLIPText
from lorakit.embedded.models.flux import Flux
from lorakit.embedded.models.layouts import folder_flux
from lorakit.embedded.models.t5 import T5Encoder
from lorakit.embedded.models.unet import UNet
from lorakit.embedded.models.vae import VAE
from lorakit.embedded.models.weights import Layout, same_names
from lorakit.files import write_atomic
from lorakit.toml_text import document_text
from lorakit.trainers.prompt_line import read_prompt

CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "norm_eps": 1e-5,
}
VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [8, 8, 16, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "act_fn": "silu",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
EXTRA_TOKENS = 500  # of CLIP's merges, enough for short words
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}
T5 = {
    "vocab_size": 0,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_heads": 4,
    "num_layers": 2,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "is_encoder_decoder": False,
}
FLUX = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "guidance_embeds": True,
    "axes_dims_rope": [4, 14, 14],
    "patch_size": 1,
}
FLUX_VAE = {
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
FLOW = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


# As many blocks as the real models have, as narrow as the toys: what a step launches is the same.
DEEP: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": [16, 32, 32, 32],
        "layers_per_block": 2,
        "attention_head_dim": 4,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    },
    "sdxl": {
        "block_out_channels": [16, 32, 32],
        "layers_per_block": 2,
        "attention_head_dim": [2, 4, 4],
        "transformer_layers_per_block": [1, 2, 10],
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
        "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
    },
    "flux": {"num_layers": 19, "num_single_layers": 38},
}


class _Made(NamedTuple):
    generator: torch.Generator
    dtype: torch.dtype
    more: Mapping[str, Any]  # settings of the denoiser


def make_tiny(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    deep: bool = False,
) -> Path:
    """Write the base into `folder` (made where it is missing) and return it. `deep`: with the real
    model's number of blocks.
    """
    made = _Made(torch.Generator().manual_seed(seed), dtype, DEEP[family] if deep else {})
    {"sd15": _sd15, "sdxl": _sdxl, "flux": _flux}[family](folder, made)
    return folder


def _sd15(folder: Path, made: _Made) -> None:
    unet = {
        **UNET,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    }
    _sd(folder, made, unet, 0.18215)
    _index(folder, "StableDiffusionPipeline", SCHEDULER)


def _sdxl(folder: Path, made: _Made) -> None:
    unet = {
        **UNET,
        "attention_head_dim": [2, 4],
        "cross_attention_dim": 64,
        "transformer_layers_per_block": [1, 2],
        "use_linear_projection": True,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 80,
    }
    vocabulary = _sd(folder, made, unet, 0.13025)
    _clip_tokenizer(folder / "tokenizer_2", pad="!")
    second = CLIPText({**_clip(vocabulary), "hidden_act": "gelu"}, projection=True)
    _write(folder / "text_encoder_2", second, "CLIPTextModelWithProjection", made)
    _index(folder, "StableDiffusionXLPipeline", SCHEDULER)


def _sd(folder: Path, made: _Made, unet: Mapping[str, Any], scaling: float) -> int:
    vocabulary = _clip_tokenizer(folder / "tokenizer")
    _write(folder / "unet", UNet({**unet, **made.more}), "UNet2DConditionModel", made)
    _write(folder / "vae", VAE({**VAE_CONFIG, "scaling_factor": scaling}), "AutoencoderKL", made)
    text = CLIPText(_clip(vocabulary), projection=False)
    _write(folder / "text_encoder", text, "CLIPTextModel", made)
    return vocabulary


def _flux(folder: Path, made: _Made) -> None:
    vocabulary = _clip_tokenizer(folder / "tokenizer")
    t5 = {**T5, "vocab_size": _t5_tokenizer(folder / "tokenizer_2")}
    module = Flux({**FLUX, **made.more})
    _write(folder / "transformer", module, "FluxTransformer2DModel", made, folder_flux(module))
    _write(folder / "vae", VAE({**VAE_CONFIG, **FLUX_VAE}), "AutoencoderKL", made)
    text = CLIPText(_clip(vocabulary), projection=False)
    _write(folder / "text_encoder", text, "CLIPTextModel", made)
    _write(folder / "text_encoder_2", T5Encoder(t5), "T5EncoderModel", made)
    _index(folder, "FluxPipeline", FLOW)


def _clip(vocabulary: int) -> dict[str, Any]:
    return {
        **CLIP,
        "vocab_size": vocabulary,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Small random weights that keep a signal alive: biases near zero, gains near one, matrices by
    their width.
    """
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() == 1:
                value.copy_(noise * 0.02 + (1.0 if not name.endswith("bias") else 0.0))
            else:
                value.copy_(noise * value[0].numel() ** -0.5)


def _write(
    folder: Path, module: nn.Module, kind: str, made: _Made, layout: Layout | None = None
) -> None:
    randomise(module, made.generator)
    tensors = stored(module, layout or same_names(module), made.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    library = not kind.startswith(("CLIP", "T5"))
    model_type = "t5" if kind.startswith("T5") else "clip_text_model"
    named = (
        {"_class_name": kind} if library else {"architectures": [kind], "model_type": model_type}
    )
    _json(folder / "config.json", {**named, **module.config})
    save_file(
        tensors,
        folder / ("diffusion_pytorch_model.safetensors" if library else "model.safetensors"),
        metadata={"format": "pt"},
    )


def stored(module: nn.Module, layout: Layout, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The module's weights under the names that its files use: the way back through a layout."""
    pieces: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in module.named_parameters():
        parts, done = layout[name], 0
        lengths = _lengths(parts, value)
        for part, length in zip(parts, lengths, strict=True):
            piece = value.detach()[done : done + length] if len(parts) > 1 else value.detach()
            pieces.setdefault(part.name, {})[part.start] = piece.t() if part.transposed else piece
            done += length
    return {
        name: torch.cat([rows[start] for start in sorted(rows)]).to(dtype).contiguous()
        for name, rows in pieces.items()
    }


def _lengths(parts: tuple[Any, ...], value: torch.Tensor) -> list[int]:
    """How many rows each part has; without a stop, q, k and v are square and the last part takes
    the rest.
    """
    if len(parts) == 1:
        return [len(value)]
    if parts[0].stop is not None:
        return [part.stop - part.start for part in parts]
    width = value.shape[1] if value.dim() > 1 else 0
    if (
        not width
    ):  # a bias of fused q, k, v (and feed-forward): its rows are those of the square parts
        width = len(value) // 3 if len(parts) == 3 else len(value) // 7
    return [*[width] * (len(parts) - 1), len(value) - width * (len(parts) - 1)]


def _clip_tokenizer(folder: Path, pad: str = "<|endoftext|>") -> int:
    """CLIP's own byte symbols and first merges under numbers of their own; returns how many tokens
    there are.
    """
    merges = data.clip_merges()[:EXTRA_TOKENS]
    signs = list(data.byte_symbols().values())
    tokens = [
        *signs,
        *(sign + "</w>" for sign in signs),
        *(left + right for left, right in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    write_atomic(
        folder / "merges.txt",
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n",
    )
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": pad,
        },
    )
    return len(vocabulary)


def _t5_tokenizer(folder: Path) -> int:
    """Characters as pieces, with T5's marks where T5 has them."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import Unigram

    pieces = ["<pad>", "</s>", "<unk>", "▁", *map(chr, range(33, 127))]
    tokenizer = Tokenizer(
        Unigram(
            [
                (piece, 0.0 if piece.startswith("<") and len(piece) > 1 else -4.0)
                for piece in pieces
            ],
            unk_id=2,
        )
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "tokenizer.json", tokenizer.to_str())
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "T5TokenizerFast",
            "model_max_length": 512,
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        },
    )
    return len(pieces)


def _index(folder: Path, pipeline: str, scheduler: Mapping[str, Any]) -> None:
    """model_index.json, from what has been written so far."""
    parts: dict[str, Any] = {"_class_name": pipeline}
    for part in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2"):
        if (folder / part).is_dir():
            config = json.loads((folder / part / "config.json").read_text())
            name = config.get("_class_name")
            parts[part] = (
                ["diffusers", name] if name else ["transformers", *config["architectures"]]
            )
    for part in ("tokenizer", "tokenizer_2"):
        if (folder / part).is_dir():
            t5 = part == "tokenizer_2" and pipeline == "FluxPipeline"
            parts[part] = ["transformers", "T5TokenizerFast" if t5 else "CLIPTokenizer"]
    parts["scheduler"] = ["diffusers", scheduler["_class_name"]]
    _json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _json(folder / "model_index.json", parts)


def prompts_toml(path: Path, *lines: str) -> Path:
    """Prompts in lines as kohya's text files have them, in the format that plans write."""
    subsets = [read_prompt(line, {})[0] for line in lines]
    path.write_text(document_text({"prompt": {"subset": subsets}}), encoding="utf-8")
    return path


def _json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")
