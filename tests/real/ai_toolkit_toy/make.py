"""Random weights of a FLUX and a Wan 2.2 that a CPU can train, in diffusers' form, tokenizers of
bytes among them, and Wan's VAE in a hub cache laid out by hand. Run by ai-toolkit's own Python.

    python make.py MODELS HUB CLIP      (CLIP: a folder with a small tokenizer and text_encoder)
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    WanTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

VAE, REVISION = "models--ai-toolkit--wan2.1-vae", "0" * 40
WORDS = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 1, "vocab_size": 400}


def save(model, place):
    model.to(torch.float32).save_pretrained(place, safe_serialization=True)


def tokenizer(place):
    marks = ["<pad>", "</s>", "<unk>", "\u2581"]
    words = [(word, 0.0) for word in marks] + [(chr(code), -1.0) for code in range(33, 127)]
    T5Tokenizer(vocab=words).save_pretrained(place)


def index(place, kind, **parts):
    index = {"_class_name": kind, "_diffusers_version": "0.39.0"}
    parts = {name: [of, what] for name, (of, what) in parts.items()}
    (place / "model_index.json").write_text(json.dumps(index | parts))


def flux(place, clip):
    part = {"attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 6, 6)}
    save(
        FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            joint_attention_dim=16,
            pooled_projection_dim=pooled_size(clip),
            guidance_embeds=True,
            **part,
        ),
        place / "transformer",
    )
    blocks = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    save(
        AutoencoderKL(
            latent_channels=16,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            **blocks,
        ),
        place / "vae",
    )
    save(T5EncoderModel(T5Config(**WORDS)), place / "text_encoder_2")
    tokenizer(place / "tokenizer_2")
    FlowMatchEulerDiscreteScheduler().save_pretrained(place / "scheduler")
    for one in ("text_encoder", "tokenizer"):
        shutil.copytree(clip / one, place / one)
    index(
        place,
        "FluxPipeline",
        transformer=("diffusers", "FluxTransformer2DModel"),
        vae=("diffusers", "AutoencoderKL"),
        text_encoder=("transformers", "CLIPTextModel"),
        tokenizer=("transformers", "CLIPTokenizer"),
        text_encoder_2=("transformers", "T5EncoderModel"),
        tokenizer_2=("transformers", "T5Tokenizer"),
        scheduler=("diffusers", "FlowMatchEulerDiscreteScheduler"),
    )


def pooled_size(clip):
    from transformers import CLIPTextConfig

    return CLIPTextConfig.from_pretrained(clip / "text_encoder").hidden_size


def wan(place, hub):
    part = {"attention_head_dim": 12, "num_attention_heads": 2, "num_layers": 1, "ffn_dim": 32}
    for name in ("transformer", "transformer_2"):
        save(WanTransformer3DModel(text_dim=16, freq_dim=16, **part), place / name)
    save(UMT5EncoderModel(UMT5Config(**WORDS)), place / "text_encoder")
    tokenizer(place / "tokenizer")
    index(
        place,
        "WanPipeline",
        transformer=("diffusers", "WanTransformer3DModel"),
        transformer_2=("diffusers", "WanTransformer3DModel"),
        text_encoder=("transformers", "UMT5EncoderModel"),
        tokenizer=("transformers", "T5Tokenizer"),
    )
    snapshot = hub / VAE / "snapshots" / REVISION
    save(AutoencoderKLWan(base_dim=8, num_res_blocks=1), snapshot)
    (hub / VAE / "refs").mkdir()
    (hub / VAE / "refs" / "main").write_text(REVISION)


if __name__ == "__main__":
    torch.manual_seed(1)
    models, hub, clip = map(Path, sys.argv[1:])
    flux(models / "flux", clip)
    wan(models / "wan22", hub)
