"""Where the weights of our modules are in the files that people have: the LDM names of SD1.5 and
SDXL, OpenCLIP's, FLUX's own.

Module names go in pairs (ours, theirs); the same pairs name the LoRA keys of SDXL, which kohya
makes of the LDM names.
"""

from collections.abc import Mapping
from typing import Any

from lorakit.embedded.models.blocks import Network
from lorakit.embedded.models.weights import Layout, TensorPart, Tensors
from lorakit.weights.module_names import FLUX_BLOCKS, open_clip_module, rename, unet_pairs

_VAE_ATTENTION = [
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
]
_OPEN_CLIP_OUTSIDE = {  # of its layers
    "text_model.embeddings.token_embedding.weight": TensorPart("token_embedding.weight"),
    "text_model.embeddings.position_embedding.weight": TensorPart("positional_embedding"),
    "text_model.final_layer_norm.weight": TensorPart("ln_final.weight"),
    "text_model.final_layer_norm.bias": TensorPart("ln_final.bias"),
    "text_projection.weight": TensorPart("text_projection", transposed=True),
}


def ldm_module(name: str, config: Mapping[str, Any]) -> str:
    """`down_blocks.1.attentions.0.proj_in` -> `input_blocks.4.1.proj_in`."""
    return rename(name, dict(unet_pairs(config)))


def _renamed(network: Network, pairs: Mapping[str, str]) -> Layout:
    return {name: (TensorPart(rename(name, pairs)),) for name, _ in network.named_parameters()}


def ldm_unet(network: Network) -> Layout:
    return _renamed(network, dict(unet_pairs(network.config)))


def ldm_vae(network: Network) -> Layout:
    config = network.config
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
    return _renamed(network, pairs)


def open_clip(network: Network) -> Layout:
    """SDXL's second encoder in one file: q, k, v in one matrix, the projection transposed."""
    width = network.config["hidden_size"]
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in network.named_parameters():
        if name in _OPEN_CLIP_OUTSIDE:
            layout[name] = (_OPEN_CLIP_OUTSIDE[name],)
            continue
        module, _, leaf = name.rpartition(".")
        theirs, third = open_clip_module(module)
        if third is None:
            layout[name] = (TensorPart(f"{theirs}.{leaf}"),)
        else:
            row = third * width
            layout[name] = (TensorPart(f"{theirs}_{leaf}", row, row + width),)
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


def folder_flux(network: Network) -> Layout:
    """FLUX's diffusers folder: q, k, v apart; the last modulation's halves change places."""
    width = network.config["num_attention_heads"] * network.config["attention_head_dim"]
    layout: dict[str, tuple[TensorPart, ...]] = {}
    for name, _ in network.named_parameters():
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
