from __future__ import annotations

import json
from pathlib import Path

import pytest
from plan_cases import UNET, flux, sd, weights

from lorakit.weights.identify import Sniffed, sniff
from lorakit.weights.safetensors import HeaderError, read_header


def seen(path: Path) -> tuple[str, str, str]:
    found = sniff(path)
    return found.kind, found.family, found.variant


def told(*names: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    return dict.fromkeys(names, ("BF16", (4, 4)))


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (sd(768), ("checkpoint", "sd15", "")),
        (sd(1024), ("checkpoint", "sd2", "")),
        (sd(2048), ("checkpoint", "sdxl", "")),
        (sd(1280), ("checkpoint", "sdxl", "refiner")),
        (sd(768, channels=9), ("checkpoint", "sd15", "inpaint")),
        (flux(), ("checkpoint", "flux", "dev")),
        (flux(guidance=False), ("checkpoint", "flux", "schnell")),
        (
            {**flux(), "distilled_guidance_layer.in_proj.weight": ("BF16", (1, 1))},
            ("checkpoint", "flux", "chroma"),
        ),
        (
            {f"{UNET}{name}": tensor for name, tensor in flux().items()},
            ("checkpoint", "flux", "dev"),
        ),
        (
            {
                "transformer_blocks.0.attn.to_q.weight": ("BF16", (1, 1)),
                "single_transformer_blocks.0.attn.to_q.weight": ("BF16", (1, 1)),
                "time_text_embed.guidance_embedder.linear_1.weight": ("BF16", (1, 1)),
            },
            ("checkpoint", "flux", "diffusers-dev"),
        ),
        (
            {f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": ("F16", (1, 1))},
            ("checkpoint", "sd3", ""),
        ),
        (
            {
                "cap_embedder.0.weight": ("BF16", (1,)),
                "noise_refiner.0.attention.qkv.weight": ("BF16", (1, 1)),
            },
            ("checkpoint", "lumina", ""),
        ),
        (
            told("double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"),
            ("checkpoint", "flux2", ""),
        ),
        (
            told("noise_refiner.0.attention.qkv.weight", "cap_embedder.0.weight", "x_pad_token"),
            ("checkpoint", "zimage", ""),
        ),
        (
            told("transformer_blocks.0.img_mlp.net.0.proj.weight", "txt_norm.weight"),
            ("checkpoint", "qwen_image", ""),
        ),
        (
            told("blocks.0.cross_attn.k.weight", "patch_embedding.weight"),
            ("checkpoint", "wan21", ""),
        ),
        (told("txtmlp.0.weight", "tproj.1.weight"), ("checkpoint", "krea2", "")),
        ({"decoder.conv_in.weight": ("F32", (512, 4, 3, 3))}, ("vae", "", "")),
        ({"first_stage_model.decoder.conv_in.weight": ("F32", (512, 4, 3, 3))}, ("vae", "", "")),
        ({"decoder.conv_in.weight": ("F32", (512, 16, 3, 3))}, ("vae", "flux", "")),
        ({"text_model.final_layer_norm.weight": ("F16", (768,))}, ("text_encoder", "", "clip_l")),
        ({"text_model.final_layer_norm.weight": ("F16", (1280,))}, ("text_encoder", "", "clip_g")),
        (
            {"encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", (4096, 4096))},
            ("text_encoder", "", "t5xxl"),
        ),
        ({"emb_params": ("F32", (4, 768))}, ("embedding", "", "")),
        (
            {"control_model.input_blocks.0.0.weight": ("F16", (320, 4, 3, 3))},
            ("controlnet", "", ""),
        ),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": ("F32", (8, 768))}, ("lora", "sd15", "")),
        ({"lora_unet_x_attn2_to_k.lora_down.weight": ("F32", (8, 2048))}, ("lora", "sdxl", "")),
        (
            {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": ("F32", (8, 3072))},
            ("lora", "flux", ""),
        ),
        (
            {"transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight": ("F32", (8, 3072))},
            ("lora", "flux", ""),
        ),
        ({"something.else": ("F32", (3,))}, ("unknown", "", "")),
    ],
)
def test_the_header_alone_tells_what_it_is(
    tmp_path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], expected: tuple[str, str, str]
) -> None:
    assert seen(weights(tmp_path / "x.safetensors", tensors)) == expected


def test_a_lora_says_its_family_in_its_metadata(tmp_path: Path) -> None:
    path = weights(
        tmp_path / "x.safetensors",
        {"lora_unet_a.lora_down.weight": ("F32", (8, 320))},
        {"ss_base_model_version": "sdxl_base_v1-0"},
    )
    assert seen(path) == ("lora", "sdxl", "")


@pytest.mark.parametrize(
    ("dtype", "fp8"), [("F16", ""), ("F8_E4M3", "e4m3fn"), ("F8_E5M2", "e5m2")]
)
def test_both_kinds_of_fp8_are_told_apart(tmp_path: Path, dtype: str, fp8: str) -> None:
    assert sniff(weights(tmp_path / "x.safetensors", flux(dtype=dtype))).fp8 == fp8


@pytest.mark.parametrize(
    ("extra", "metadata", "expected"),
    [
        ({}, {}, False),
        ({"v_pred": ("F32", (0,))}, {}, True),
        ({}, {"modelspec.prediction_type": "v"}, True),
        ({}, {"modelspec.prediction_type": "epsilon"}, False),
    ],
)
def test_v_prediction_is_known_from_its_mark_or_the_metadata(
    tmp_path: Path,
    extra: dict[str, tuple[str, tuple[int, ...]]],
    metadata: dict[str, str],
    *,
    expected: bool,
) -> None:
    assert (
        sniff(weights(tmp_path / "x.safetensors", {**sd(2048), **extra}, metadata)).v_prediction
        is expected
    )


def test_missing_parts_are_seen(tmp_path: Path) -> None:
    found = sniff(weights(tmp_path / "x.safetensors", sd(768, vae=False, text=False)))
    assert (found.has_vae, found.has_text) == (False, False)
    found = sniff(weights(tmp_path / "y.safetensors", sd(768)))
    assert (found.has_vae, found.has_text) == (True, True)


def test_a_file_cut_short_is_broken_and_says_how_much_is_there(tmp_path: Path) -> None:
    found = sniff(weights(tmp_path / "x.safetensors", sd(768), cut=1000))
    assert found.kind == "broken"
    assert "cut short" in found.problem


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00", "GGUF"),
        (b"\xff" * 64, "not a safetensors file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00not json at all!!", "does not begin with {"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "does not begin with {"),
    ],
)
def test_what_is_not_safetensors_is_named_by_its_first_bytes(
    tmp_path: Path, content: bytes, word: str
) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    found = sniff(tmp_path / "x.safetensors")
    assert found.kind == "broken"
    assert word in found.problem


def test_a_pickle_is_known_by_its_suffix_or_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"PK\x03\x04")
    (tmp_path / "b.safetensors").write_bytes(b"PK\x03\x04" + bytes(20))
    assert [sniff(tmp_path / name).kind for name in ("a.ckpt", "b.safetensors")] == [
        "pickle",
        "pickle",
    ]


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        ("StableDiffusionPipeline", "sd15"),
        ("StableDiffusionXLPipeline", "sdxl"),
        ("FluxPipeline", "flux"),
        ("StableDiffusion3Pipeline", "sd3"),
    ],
)
def test_a_diffusers_folder_is_known_by_its_index(
    tmp_path: Path, pipeline: str, family: str
) -> None:
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": pipeline}), encoding="utf-8"
    )
    (tmp_path / "vae").mkdir()
    found = sniff(tmp_path)
    assert (found.kind, found.family, found.has_vae, found.has_text) == (
        "diffusers",
        family,
        True,
        False,
    )


def test_a_folder_that_is_no_model_is_broken(tmp_path: Path) -> None:
    assert sniff(tmp_path).kind == "broken"


def test_sniffing_reads_no_more_than_the_header(tmp_path: Path) -> None:
    path = weights(
        tmp_path / "huge.safetensors", {**sd(768), f"{UNET}big": ("F32", (100_000, 100_000))}
    )  # 40 GB of hole
    assert sniff(path).parameters > 10_000_000_000


def test_a_directory_entry_that_cannot_be_opened_is_broken_not_a_crash(tmp_path: Path) -> None:
    assert isinstance(sniff(tmp_path / "nowhere.safetensors"), Sniffed)
    with pytest.raises(HeaderError):
        read_header(tmp_path / "nowhere.safetensors")
