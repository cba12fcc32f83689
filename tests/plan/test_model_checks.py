from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from plan_cases import flux, recipe, sd, weights

from lorakit.config import cache_dir
from lorakit.plan.complete import completed
from lorakit.plan.weights import weight_faults, weight_files
from lorakit.recipe.options import Options
from lorakit.weights.reference import fetched_path
from lorakit.weights.safetensors import read_header

TRAINED = {
    "lora_unet_x_attn2_to_k.lora_down.weight": ("F32", (8, 768)),
    "lora_unet_x_attn2_to_k.lora_up.weight": ("F32", (320, 8)),
}
LORA = {"lora_unet_x_attn2_to_k.lora_down.weight": ("F32", (8, 768))}
VAE = {"decoder.conv_in.weight": ("F32", (512, 4, 3, 3))}
FLUX_VAE = {"decoder.conv_in.weight": ("F32", (512, 16, 3, 3))}
CLIP = {"text_model.final_layer_norm.weight": ("F16", (768,))}
T5 = {"encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", (4096, 4096))}


def rules(root: Path, train: dict[str, Any] | None = None, **sections: Any) -> list[str]:
    options = Options(recipe(root, train, **sections))
    files, faults = weight_files(options)
    full = completed(options, root / "run", files)
    return [f"{fault.rule}:{fault.severity}" for fault in (*faults, *weight_faults(full, files))]


@pytest.mark.parametrize("tensors", [sd(2048), flux()])
def test_another_familys_model_is_refused(tmp_path: Path, tensors: Any) -> None:
    weights(tmp_path / "base.safetensors", tensors)
    assert rules(tmp_path) == ["model-family:error"]


WAN = dict.fromkeys(("blocks.0.cross_attn.k.weight", "patch_embedding.weight"), ("BF16", (4, 4)))  # fmt: skip


@pytest.mark.parametrize(
    ("family", "tensors", "wrong"),
    [
        ("wan21", WAN, False),
        ("wan22", WAN, False),
        ("zimage", WAN, True),
        ("wan22", flux(), True),
        ("flux_kontext", flux(), False),
        ("flux2", flux(), True),
    ],
)
def test_a_transformer_of_another_family_is_refused_for_musubi_too(
    tmp_path: Path, family: str, tensors: Any, *, wrong: bool
) -> None:
    weights(tmp_path / "base.safetensors", tensors)
    found = rules(tmp_path, family=family, trainer="musubi")
    assert ("model-family:error" in found) is wrong


@pytest.mark.parametrize("tensors", [LORA, VAE, CLIP])
def test_a_part_is_not_taken_for_a_model(tmp_path: Path, tensors: Any) -> None:
    weights(tmp_path / "base.safetensors", tensors)
    assert rules(tmp_path) == ["model-is-part:error"]


def test_a_v_prediction_model_is_not_trained_as_if_it_predicted_noise(tmp_path: Path) -> None:
    weights(tmp_path / "base.safetensors", {**sd(768), "v_pred": ("F32", (1,))})
    assert rules(tmp_path) == ["model-v-prediction:error"]
    assert rules(tmp_path, {"v_parameterization": True}) == []


@pytest.mark.parametrize(
    ("tensors", "train", "expected"),
    [
        (sd(768), {}, []),
        (sd(1024), {}, ["model-v2:error"]),
        (sd(1024), {"v2": True}, []),
        (sd(768), {"v2": True}, ["model-v2:error"]),
        (sd(768, channels=9), {}, ["model-variant:error"]),
        (sd(768, vae=False), {}, ["model-no-vae:error"]),
        (sd(768, text=False), {}, ["model-no-text:error"]),
        (sd(768, dtype="F8_E4M3"), {}, ["model-fp8:warning"]),
        ({"nobody.knows": ("F32", (1,))}, {}, ["model-unknown:warning"]),
    ],
)
def test_an_sd15_recipe_takes_an_sd15_model_and_nothing_else(
    tmp_path: Path, tensors: Any, train: dict[str, Any], expected: list[str]
) -> None:
    weights(tmp_path / "base.safetensors", tensors)
    assert rules(tmp_path, train) == expected


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    weights(tmp_path / "base.safetensors", sd(768), cut=5)
    assert rules(tmp_path) == ["model-broken:error"]


def test_a_pickle_is_refused_unless_the_person_insists(tmp_path: Path) -> None:
    (tmp_path / "base.ckpt").write_bytes(b"PK\x03\x04")
    assert rules(tmp_path, model={"base": "base.ckpt"}) == ["model-pickle:error"]
    assert rules(tmp_path, model={"base": "base.ckpt", "allow_pickle": True}) == [
        "model-pickle-allowed:warning"
    ]


def test_a_missing_file_is_named_and_not_tried_on_the_hub(tmp_path: Path) -> None:
    assert rules(tmp_path) == ["weights-not-there:error"]


def test_required_weights_that_nobody_named_are_asked_for(tmp_path: Path) -> None:
    weights(tmp_path / "base.safetensors", flux())
    assert rules(tmp_path, family="flux") == ["weights-missing:error"] * 3


def test_a_hub_reference_is_left_for_later_and_checked_once_it_is_here(tmp_path: Path) -> None:
    reference = "hf:owner/repo/sub/base.safetensors@main"
    assert rules(tmp_path, model={"base": reference}) == ["weights-to-fetch:note"]
    place = fetched_path(reference)
    assert place is not None
    weights(place, sd(2048))
    assert rules(tmp_path, model={"base": reference}) == ["model-family:error"]
    assert rules(tmp_path, model={"base": "hf:nonsense"}) == ["hub-reference:error"]


@pytest.mark.parametrize(
    ("option", "tensors", "expected"),
    [
        ("clip_l", CLIP, []),
        ("clip_l", T5, ["part-is-other:error"]),
        ("t5xxl", CLIP, ["part-is-other:error"]),
        ("ae", VAE, ["part-is-other:error"]),
        ("ae", flux(), ["part-is-other:error"]),
        ("t5xxl", LORA, ["part-is-other:error"]),
    ],
)
def test_swapped_flux_files_are_noticed(
    tmp_path: Path, option: str, tensors: Any, expected: list[str]
) -> None:
    right = {"base": flux(), "clip_l": CLIP, "t5xxl": T5, "ae": FLUX_VAE}
    for name, own in {**right, option: tensors}.items():
        weights(tmp_path / f"{name}.safetensors", own)
    model = {name: f"{name}.safetensors" for name in right}
    assert rules(tmp_path, family="flux", model=model) == expected


@pytest.mark.parametrize(
    ("tensors", "train", "expected"),
    [
        (flux(dtype="F8_E5M2"), {}, ["model-fp8:error"]),
        (flux(dtype="F8_E4M3"), {}, []),
        (flux(guidance=False), {}, []),
        ({**flux(), "distilled_guidance_layer.x": ("BF16", (1,))}, {}, ["model-chroma:error"]),
        (flux(), {"model_type": "chroma"}, ["model-chroma:error"]),
        (
            {"single_transformer_blocks.0.attn.to_q.weight": ("BF16", (1,))},
            {},
            ["model-diffusers:warning"],
        ),
    ],
)
def test_kinds_of_flux(
    tmp_path: Path, tensors: Any, train: dict[str, Any], expected: list[str]
) -> None:
    for name, own in {"base": tensors, "clip_l": CLIP, "t5xxl": T5, "ae": FLUX_VAE}.items():
        weights(tmp_path / f"{name}.safetensors", own)
    model = {name: f"{name}.safetensors" for name in ("base", "clip_l", "t5xxl", "ae")}
    assert rules(tmp_path, train, family="flux", model=model) == expected


def test_chroma_needs_no_clip(tmp_path: Path) -> None:
    tensors: Any = {**flux(), "distilled_guidance_layer.x": ("BF16", (1,))}
    for name, own in {"base": tensors, "t5xxl": T5, "ae": FLUX_VAE}.items():
        weights(tmp_path / f"{name}.safetensors", own)
    model = {name: f"{name}.safetensors" for name in ("base", "t5xxl", "ae")}
    chroma = {"model_type": "chroma", "apply_t5_attn_mask": True, "guidance_scale": 0.0}
    assert rules(tmp_path, chroma, family="flux", model=model) == []
    assert rules(tmp_path, {}, family="flux", model=model) == [
        "weights-missing:error",
        "model-chroma:error",
    ]


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (VAE, []),
        (sd(768), []),
        (FLUX_VAE, ["part-is-other:error"]),
        (LORA, ["part-is-other:error"]),
    ],
)
def test_a_separate_vae_is_one(tmp_path: Path, tensors: Any, expected: list[str]) -> None:
    weights(tmp_path / "base.safetensors", sd(768, vae=False))
    weights(tmp_path / "vae.safetensors", tensors)
    assert rules(tmp_path, model={"vae": "vae.safetensors"}) == expected


@pytest.mark.parametrize(
    ("tensors", "train", "expected"),
    [
        (LORA, {}, []),
        (LORA, {"network_dim": 16}, ["start-rank:error"]),
        (LORA, {"network_dim": 16, "dim_from_weights": True}, []),
        (VAE, {}, ["start-is-no-lora:error"]),
        ({"lora_unet_attn2_to_k.lora_down.weight": ("F32", (8, 2048))}, {}, ["start-family:error"]),
        (None, {}, ["start-not-there:error"]),
    ],
)
def test_a_lora_to_go_on_from_fits(
    tmp_path: Path, tensors: Any, train: dict[str, Any], expected: list[str]
) -> None:
    weights(tmp_path / "base.safetensors", sd(768))
    if tensors:
        filled(weights(tmp_path / "start.safetensors", tensors), b"\x01")
    assert rules(tmp_path, train, model={"network_weights": "start.safetensors"}) == expected


def filled(path: Path, number: bytes) -> Path:
    """Every number of the file made of this."""
    begin, size = read_header(path).begin, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(begin)
        file.write((number * size)[: size - begin])
    return path


@pytest.mark.parametrize(
    ("tensors", "number", "said"),
    [
        (TRAINED, "0000c07f", "NaN or infinity"),
        (TRAINED, "0000807f", "NaN or infinity"),
        (TRAINED, "000080ff", "NaN or infinity"),
        (TRAINED, "00", "nothing but zeros"),
        (LORA, "00", "nothing but zeros"),
    ],
)
def test_a_lora_of_nan_or_of_zeros_is_nothing_to_go_on_from(
    tmp_path: Path, tensors: Any, number: str, said: str
) -> None:
    weights(tmp_path / "base.safetensors", sd(768))
    start = filled(weights(tmp_path / "start.safetensors", tensors), bytes.fromhex(number))
    options = Options(recipe(tmp_path, model={"network_weights": "start.safetensors"}))
    files, _ = weight_files(options)
    full = completed(options, tmp_path / "run", files)
    for _ in range(2):  # the second time from memory
        (fault,) = weight_faults(full, files)
        assert (fault.rule, fault.where) == ("start-numbers", str(start))
        assert said in fault.what
    assert "start.safetensors" in (cache_dir() / "numbers.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["cut", "longer", "twice", "deep", "gap"])
def test_what_the_strict_reader_refuses_is_no_base_and_no_start(
    tmp_path: Path, damage: str
) -> None:
    for name, tensors in (("base", sd(768)), ("start", TRAINED)):
        path = filled(weights(tmp_path / f"{name}.safetensors", tensors), b"\x01")
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        text, body = content[8 : 8 + length], content[8 + length :]
        text, body = {
            "cut": (text, body[:-1]),
            "longer": (text, body + b"x"),
            "twice": (text[:-1] + b"," + text[1:], body),
            "deep": (text[:-1] + b',"x":' + b"[" * 100_000 + b"}", body),
            "gap": (text.replace(b'"data_offsets": [0,', b'"data_offsets": [1,', 1), body),
        }[damage]
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    found = rules(tmp_path, model={"network_weights": "start.safetensors"})
    assert found == ["model-broken:error", "start-is-no-lora:error"]


def test_a_relative_link_as_an_sdxl_model_is_followed_because_the_script_cannot(
    tmp_path: Path,
) -> None:
    weights(tmp_path / "store" / "real.safetensors", sd(2048))
    os.symlink("store/real.safetensors", tmp_path / "base.safetensors")
    resolved = recipe(tmp_path, family="sdxl")
    files, _ = weight_files(Options(resolved))
    full = completed(Options(resolved), tmp_path / "run", files)
    assert (
        full.value("pretrained_model_name_or_path")
        == (tmp_path / "store/real.safetensors").as_posix()
    )


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("hf:owner/repo/a/b.safetensors@v1/x", "owner--repo/v1--x/a/b.safetensors"),
        ("hf:owner/repo", "owner--repo/main"),
        ("hf:owner/repo/../b@main", None),
        ("hf:owner/repo/b@..", None),
        ("hf:owner/repo/a//b", None),
        ("hf:owner", None),
        ("owner/repo", None),
    ],
)
def test_a_reference_has_one_place_in_the_cache_and_none_outside_it(
    own_home: Path, reference: str, place: str | None
) -> None:
    assert fetched_path(reference) == (
        own_home / ".cache/lorakit/weights" / place if place else None
    )


def test_a_base_that_is_a_link_to_itself_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").symlink_to("base.safetensors")
    options = Options(recipe(tmp_path, {}))
    _, faults = weight_files(options)
    assert ["link to base.safetensors, which cannot be reached" in one.what for one in faults] == [
        True
    ]
    assert rules(tmp_path) == ["weights-not-there:error"]
