"""What we write is read by the pipelines of diffusers, and gives there what it gave here."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402 -- after the check that torch is there
from tiny_bases import make_tiny  # noqa: E402

from lorakit.embedded.models import open_base  # noqa: E402
from lorakit.embedded.network import targets  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ARGS = Namespace(
    network_module="networks.lora",
    network_dim=4,
    network_alpha=2.0,
    network_args=None,
    network_train_text_encoder_only=False,
)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_pipeline_with_our_lora_predicts_what_we_predict(family: str, tmp_path: Path) -> None:
    import diffusers

    folder = make_tiny(family, tmp_path / family)
    base = open_base(Namespace(pretrained_model_name_or_path=str(folder)), family)
    denoiser = base.load_denoiser(torch.float32, "cpu")
    told = base.encode(
        base.load_encoders(torch.float32, "cpu"),
        base.tokenize(base.load_tokenizers(), ["a red fox"]),
    )
    noisy, t = torch.randn(1, base.vae.config["latent_channels"], 8, 8), torch.tensor([500])
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
    with torch.no_grad():
        plain = base.predict(denoiser, noisy, t, told, time_ids=sizes)
        network = Network(
            targets.shapes(ARGS, family, denoiser, ()),
            Dropout(),
            seed=1,
            device="cpu",
            dtype=torch.float32,
        )
        for adapter in network.adapters:
            adapter.up.normal_(std=0.3)
        save_file(network.state_dict(), tmp_path / "lora.safetensors")
        ours = base.predict(denoiser, noisy, t, told, time_ids=sizes)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
        pipeline.load_lora_weights(tmp_path / "lora.safetensors")
        added = {"text_embeds": told.pooled, "time_ids": sizes}
        theirs = pipeline.unet(noisy, t, told.hidden, added_cond_kwargs=added).sample
    assert (ours - plain).abs().max() > 0.05
    assert (ours - theirs).abs().max() < 1e-4


def test_diffusers_splits_our_flux_lora_into_the_same_matrices() -> None:
    """Its converter knows FLUX's real width only, so the model is without memory here and the adapters alone are real."""
    from diffusers.loaders import FluxLoraLoaderMixin

    from lorakit.embedded.models.flux import Flux

    config = {
        "in_channels": 64,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 64,
        "guidance_embeds": True,
    }
    with torch.device("meta"):
        flux = Flux(config)
    network = Network(
        targets.shapes(ARGS, "flux", flux, ()), Dropout(), seed=1, device="cpu", dtype=torch.float32
    )
    with torch.no_grad():
        for adapter in network.adapters:
            adapter.up.normal_()
    state = network.state_dict()
    converted = FluxLoraLoaderMixin.lora_state_dict(dict(state))
    pieces = {
        "double_blocks_0_img_attn_qkv": [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"],
        "double_blocks_0_txt_mlp_2": ["transformer_blocks.0.ff_context.net.2"],
        "single_blocks_0_linear1": [
            *(f"single_transformer_blocks.0.attn.to_{part}" for part in "qkv"),
            "single_transformer_blocks.0.proj_mlp",
        ],
        "single_blocks_0_modulation_lin": ["single_transformer_blocks.0.norm.linear"],
    }
    for name, parts in pieces.items():
        ours = (
            state[f"lora_unet_{name}.lora_up.weight"][:, :]
            @ state[f"lora_unet_{name}.lora_down.weight"][:, :20]
            * 0.5
        )
        theirs = [
            converted[f"transformer.{part}.lora_B.weight"]
            @ converted[f"transformer.{part}.lora_A.weight"][:, :20]
            for part in parts
        ]
        assert torch.allclose(ours, torch.cat(theirs), atol=1e-4), name
    assert len(converted) == 2 * (14 + 6)
