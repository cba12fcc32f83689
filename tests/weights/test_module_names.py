"""A key of kohya's is read back into the path that it was made of, for every module of every network whose anatomy we know."""

from __future__ import annotations

import pytest

from lorakit.weights import anatomy
from lorakit.weights.module_names import FLUX_BLOCKS, diffusers_names, dotted, ldm_names, rename

LDM = {
    "sd15": [name.rpartition(".")[0] for name, _ in anatomy.unet(anatomy.SD15)],
    "sdxl": [name.rpartition(".")[0] for name, _ in anatomy.unet(anatomy.SDXL)],
}
FLUX = [name.rpartition(".")[0] for name, _ in anatomy.flux()]
TEXT = [name.rpartition(".")[0] for name, _ in (*anatomy.clip(), *anatomy.t5xxl())]
OTHERS = [
    "layers.0.attention.to_out.0",
    "layers.29.feed_forward.w2",
    "blocks.3.cross_attn.k_img",
    "blocks.3.ffn.0",
    "transformer_blocks.7.img_mlp.net.0.proj",
    "transformer_blocks.7.txt_mod.1",
    "transformer_blocks.7.attn.add_q_proj",
    "single_transformer_blocks.3.proj_mlp",
    "double_stream_modulation_img.lin",
    "joint_blocks.4.context_block.attn.qkv",
]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_module_of_a_unet_survives_both_spellings(family: str) -> None:
    for name in LDM[family]:
        theirs = rename(name, diffusers_names(family))
        assert dotted(name.replace(".", "_")) == name
        assert dotted(theirs.replace(".", "_")) == theirs
        assert rename(theirs, ldm_names(family)) == name


def test_every_module_of_flux_and_of_the_text_encoders_is_read_back() -> None:
    split = [
        f"{kind}.0.{one}"
        for table, kind in FLUX_BLOCKS.values()
        for part in table.values()
        for one in part
    ]
    for name in (*FLUX, *TEXT, *split, *OTHERS):
        assert dotted(name.replace(".", "_")) == name
