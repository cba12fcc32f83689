"""What modules are called: by the network's makers, by diffusers, and flat in kohya's keys."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lorakit.user_files import read_text
from lorakit.weights.anatomy import SD15, SDXL

Pairs = list[tuple[str, str]]

# Names of modules that hold an underscore themselves, of every network that LoRAs are made for:
# with them, and only with them, a key of kohya's can be read back into a path.
WITH_UNDERSCORE = frozenset(read_text(Path(__file__).with_name("module_words.txt")).split())
LONGEST = max(name.count("_") for name in WITH_UNDERSCORE) + 1


def dotted(flat: str) -> str:
    """`double_blocks_0_img_attn_qkv` -> `double_blocks.0.img_attn.qkv`."""
    parts, path = flat.split("_"), list[str]()
    while parts:
        size = next((n for n in range(LONGEST, 1, -1) if "_".join(parts[:n]) in WITH_UNDERSCORE), 1)
        path.append("_".join(parts[:size]))
        parts = parts[size:]
    return ".".join(path)


@cache
def ldm_names(family: str) -> Mapping[str, str]:
    """The name that diffusers has for every module of that family's U-Net -> the original one."""
    kind = {"sdxl": SDXL}.get(family, SD15)
    types = ["CrossAttnUp" if depth else "Up" for depth in reversed(kind.depths)]
    return dict(unet_pairs({"block_out_channels": kind.channels, "up_block_types": types}))


@cache
def diffusers_names(family: str) -> Mapping[str, str]:
    return {theirs: ours for ours, theirs in ldm_names(family).items()}


_RESNET = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
]


def unet_pairs(config: Mapping[str, Any]) -> Pairs:
    """Every submodule of the U-Net whose LDM name differs, longest prefixes last to win."""
    count, layers = len(config["block_out_channels"]), int(config.get("layers_per_block", 2))
    pairs: Pairs = [
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("mid_block.attentions.0", "middle_block.1"),
        *_resnet("mid_block.resnets.0", "middle_block.0"),
        *_resnet("mid_block.resnets.1", "middle_block.2"),
    ]
    block = 1
    for level in range(count):
        for layer in range(layers):
            pairs += [
                *_resnet(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{block}.0"),
                (f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{block}.1"),
            ]
            block += 1
        if level < count - 1:
            pairs.append((f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{block}.0.op"))
            block += 1
    block = 0
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            pairs += [
                *_resnet(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{block}.0"),
                (f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{block}.1"),
            ]
            if layer == layers and level < count - 1:
                theirs = f"output_blocks.{block}.{2 if kind.startswith('CrossAttn') else 1}.conv"
                pairs.append((f"up_blocks.{level}.upsamplers.0.conv", theirs))
            block += 1
    return pairs


def _resnet(ours: str, theirs: str) -> Pairs:
    return [(f"{ours}.{a}", f"{theirs}.{b}") for a, b in _RESNET]


def rename(name: str, pairs: Mapping[str, str]) -> str:
    """By the longest known prefix; what is not known stays."""
    head = name
    while head:
        if head in pairs:
            return pairs[head] + name[len(head) :]
        head = head.rpartition(".")[0]
    return name


# A layer of OpenCLIP's text encoder; q, k and v are thirds of attn.in_proj there.
OPEN_CLIP = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def open_clip_module(path: str) -> tuple[str, int | None]:
    """OpenCLIP's name of a layer's module; which third of it, where that is q, k or v."""
    number, _, inner = path.removeprefix("text_model.encoder.layers.").partition(".")
    third = FUSED.index(inner) if inner in FUSED else None
    theirs = "attn.in_proj" if third is not None else OPEN_CLIP.get(inner, inner)
    return f"transformer.resblocks.{number}.{theirs}", third


_FLUX_DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_FLUX_SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
FLUX_BLOCKS = {
    "double_blocks": (_FLUX_DOUBLE, "transformer_blocks"),
    "single_blocks": (_FLUX_SINGLE, "single_transformer_blocks"),
}
