"""Where the weights of our modules are in the files that people have: the LDM names of SD1.5 and
SDXL, OpenCLIP's, FLUX's own.

Module names go in pairs (ours, theirs); the same pairs name the LoRA keys of SDXL, which kohya
makes of the LDM names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lorakit.embedded.models.weights import Layout, TensorPart, Tensors
from lorakit.weights.module_names import FLUX_BLOCKS, rename, unet_pairs

_VAE_ATTENTION = [
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
]


def ldm_module(name: str, config: Mapping[str, Any]) -> str:
    """`down_blocks.1.attentions.0.proj_in` -> `input_blocks.4.1.proj_in`."""
    return rename(name, dict(unet_pairs(config)))


def ldm_unet(
    module: nn.Module, config: Mapping[str, Any], prefix: str = "model.diffusion_model."
) -> Layout:
    pairs = dict(unet_pairs(config))
    return {
        name: (TensorPart(prefix + rename(name, pairs)),) for name, _ in module.named_parameters()
    }


def ldm_vae(module: nn.Module, config: Mapping[str, Any], prefix: str) -> Layout:
    count, layers = len(config["block_out_channels"]), int(config.get("layers_per_block", 2))
    pairs: dict[str, str] = {}
    for half in ("encoder", "decoder"):
        ours, theirs = f"{half}.mid_block", f"{half}.mid"
        pairs[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        pairs |= {f"{ours}.resnets.{n}": f"{theirs}.block_{n + 1}" for n in (0, 1)}
        pairs |= {f"{ours}.attentions.0.{a}": f"{theirs}.attn_1.{b}" for a, b in _VAE_ATTENTION}
    for level in range(count):
        # LDM counts the decoder's stages from the picture, diffusers from the latents.
        down, up = f"encoder.down.{level}", f"decoder.up.{count - 1 - level}"
        pairs |= {
            f"encoder.down_blocks.{level}.downsamplers.0": f"{down}.downsample",
            f"decoder.up_blocks.{level}.upsamplers.0": f"{up}.upsample",
        }
        for layer in range(layers + 1):
            for ours, theirs in (("encoder.down", down), ("decoder.up", up)):
                resnet = f"{ours}_blocks.{level}.resnets.{layer}"
                pairs[resnet] = f"{theirs}.block.{layer}"
                pairs[f"{resnet}.conv_shortcut"] = f"{theirs}.block.{layer}.nin_shortcut"
    return {
        name: (TensorPart(prefix + rename(name, pairs)),) for name, _ in module.named_parameters()
    }


def folder_vae(module: nn.Module, tensors: Tensors) -> Layout:
    """A diffusers folder: today's names, or those that its attention had until 2023."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in module.named_parameters():
        other = name
        for ours, theirs in old.items():
            other = other.replace(f".attentions.0.{ours}.", f".attentions.0.{theirs}.")
        layout[name] = (TensorPart(name if name in tensors else other),)
    return layout


def open_clip(module: nn.Module, config: Mapping[str, Any], prefix: str) -> Layout:
    """OpenCLIP's names (SDXL's second encoder in one file): one matrix for q, k and v, the
    projection the other way round.
    """
    width = config["hidden_size"]
    rows = {"self_attn.q_proj": 0, "self_attn.k_proj": width, "self_attn.v_proj": 2 * width}
    others = {
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    fixed = {
        "text_model.embeddings.token_embedding.weight": TensorPart(
            prefix + "token_embedding.weight"
        ),
        "text_model.embeddings.position_embedding.weight": TensorPart(
            prefix + "positional_embedding"
        ),
        "text_model.final_layer_norm.weight": TensorPart(prefix + "ln_final.weight"),
        "text_model.final_layer_norm.bias": TensorPart(prefix + "ln_final.bias"),
        "text_projection.weight": TensorPart(prefix + "text_projection", transposed=True),
    }
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in module.named_parameters():
        if name in fixed:
            layout[name] = (fixed[name],)
            continue
        number, _, rest = name.removeprefix("text_model.encoder.layers.").partition(".")
        part, _, leaf = rest.rpartition(".")
        theirs = f"{prefix}transformer.resblocks.{number}."
        if part in rows:
            layout[name] = (
                TensorPart(f"{theirs}attn.in_proj_{leaf}", rows[part], rows[part] + width),
            )
        else:
            layout[name] = (TensorPart(f"{theirs}{others[part]}.{leaf}"),)
    return layout


_FLUX_FOLDER = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
}


def folder_flux(module: nn.Module, width: int) -> Layout:
    """A diffusers folder of FLUX: q, k and v apart, and the last modulation's halves the other way
    round.
    """
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in module.named_parameters():
        head, _, leaf = name.rpartition(".")
        leaf = "weight" if leaf == "scale" else leaf
        if head == "final_layer.adaLN_modulation.1":
            source = f"norm_out.linear.{leaf}"
            layout[name] = (TensorPart(source, width, 2 * width), TensorPart(source, 0, width))
        elif head in _FLUX_FOLDER:
            layout[name] = (TensorPart(f"{_FLUX_FOLDER[head]}.{leaf}"),)
        else:
            kind, number, part = head.split(".", 2)
            table, theirs = FLUX_BLOCKS[kind]
            layout[name] = tuple(TensorPart(f"{theirs}.{number}.{s}.{leaf}") for s in table[part])
    return layout


def flux_config(tensors: Tensors, prefix: str = "") -> dict[str, Any]:
    """The sizes of a FLUX file, counted from its tensors."""

    def rows(name: str) -> int:
        return tensors.shape(prefix + name)[0]

    def count(kind: str) -> int:
        inside = f"{prefix}{kind}."
        names = [name.removeprefix(inside) for name in tensors.entries if name.startswith(inside)]
        return 1 + max((int(name.partition(".")[0]) for name in names), default=-1)

    width, head = rows("img_in.weight"), rows("double_blocks.0.img_attn.norm.query_norm.scale")
    return {
        "in_channels": tensors.shape(prefix + "img_in.weight")[1],
        "num_layers": count("double_blocks"),
        "num_single_layers": count("single_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors.shape(prefix + "txt_in.weight")[1],
        "pooled_projection_dim": tensors.shape(prefix + "vector_in.in_layer.weight")[1],
        "guidance_embeds": prefix + "guidance_in.in_layer.weight" in tensors,
        "axes_dims_rope": [head // 8, head * 7 // 16, head * 7 // 16],
        "mlp_ratio": rows("double_blocks.0.img_mlp.0.weight") / width,
    }
