from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, recipe, weights

from lorakit.dataset.scan import scan
from lorakit.families import FAMILIES
from lorakit.plan.estimate import CLIP_G, CLIP_L, data_bytes, estimate, lora_layers, size_of
from lorakit.plan.foreseen import Estimate
from lorakit.plan.steps import count_steps
from lorakit.recipe.options import Options
from lorakit.weights import anatomy
from lorakit.weights.module_names import diffusers_names, rename
from lorakit.weights.safetensors import write
from lorakit.weights.sizes import base_of


def lora_data_bytes(options: Options) -> int:
    return data_bytes(options, lora_layers(options))


def needs(root: Path, train: dict[str, Any] | None = None, **sections: Any) -> Estimate:
    folder(root / "data" / "1_maya", [(512, 512)] * 4)
    resolved = recipe(root, train, **sections)
    return estimate(Options(resolved), count_steps(Options(resolved), scan(root / "data"))[0])


@pytest.mark.parametrize(
    ("family", "train", "modules"),
    [
        ("sd15", {}, 192),
        ("sd15", {"network_train_unet_only": False}, 264),
        ("sd15", {"network_args": ["conv_dim=4"]}, 278),
        ("sdxl", {}, 722),
        ("sdxl", {"network_train_unet_only": False}, 986),
        ("sdxl", {"network_args": ["conv_dim=4"]}, 788),
        ("flux", {"network_module": "networks.lora_flux"}, 304),
        (
            "flux",
            {"network_module": "networks.lora_flux", "network_args": ["train_blocks=double"]},
            190,
        ),
        ("lumina", {}, 0),
        ("sd15", {"network_module": "lycoris.kohya"}, 0),
    ],
)
def test_the_modules_are_those_that_sd_scripts_counts(
    tmp_path: Path, family: str, train: dict[str, Any], modules: int
) -> None:
    assert len(lora_layers(Options(recipe(tmp_path, train, family=family)))) == modules


def test_size_follows_rank_and_number_format(tmp_path: Path) -> None:
    eight, sixteen = (
        lora_data_bytes(Options(recipe(tmp_path, {"network_dim": rank}))) for rank in (8, 16)
    )
    assert sixteen - 192 * 4 == 2 * (eight - 192 * 4)
    assert (
        lora_data_bytes(Options(recipe(tmp_path, {"network_dim": 8, "save_precision": "fp16"}))) * 2
        == eight
    )


def test_known_sizes_of_everyday_loras(tmp_path: Path) -> None:
    assert (
        lora_data_bytes(Options(recipe(tmp_path, {"network_dim": 4, "save_precision": "fp16"})))
        == 192 * 2 + 2 * 1_695_744
    )
    assert (
        round(
            needs(tmp_path, {"network_dim": 32, "save_precision": "bf16"}, family="sdxl").lora_bytes
            / 1e6
        )
        == 171
    )


def test_disk_counts_what_stays_and_what_passes(tmp_path: Path) -> None:
    plain = needs(tmp_path, {"max_train_epochs": 4})
    every = needs(tmp_path, {"max_train_epochs": 4, "save_every_n_epochs": 1})
    last = needs(
        tmp_path, {"max_train_epochs": 4, "save_every_n_epochs": 1, "save_last_n_epochs": 1}
    )
    assert plain.disk_bytes == plain.lora_bytes
    assert every.disk_bytes == 4 * every.lora_bytes
    assert last.disk_bytes == 3 * last.lora_bytes


def test_states_are_three_times_the_lora_and_half_that_with_an_8_bit_optimiser(
    tmp_path: Path,
) -> None:
    full, small = needs(tmp_path), needs(tmp_path, {"optimizer_type": "AdamW8bit"})
    assert full.state_bytes == 2 * small.state_bytes
    assert full.state_bytes / full.lora_bytes == pytest.approx(3, rel=0.05)


def test_caches_are_counted_only_when_they_go_to_disk(tmp_path: Path) -> None:
    assert needs(tmp_path, {"cache_latents": True}).cache_bytes == 0
    assert needs(tmp_path, {"cache_latents_to_disk": True}).cache_bytes == 4 * 4 * 64 * 64 * 4
    assert (
        needs(tmp_path, {"cache_latents_to_disk": True, "flip_aug": True}).cache_bytes
        == 2 * 4 * 4 * 64 * 64 * 4
    )


def test_memory_falls_with_everything_that_is_said_to_save_it(tmp_path: Path) -> None:
    base = {"mixed_precision": "bf16", "network_module": "networks.lora_flux", "resolution": "1024"}
    ways: list[dict[str, Any]] = [
        {},
        {"gradient_checkpointing": True},
        {"cache_text_encoder_outputs": True},
        {"cache_latents": True},
        {"fp8_base": True},
        {"frozen_linear": "nf4"},
        {"blocks_to_swap": 18},
        {"optimizer_type": "AdamW8bit"},
        {"resolution": "512"},
    ]
    used: dict[str, Any] = dict(base)
    highs = []
    for way in ways:
        used |= way
        highs.append(needs(tmp_path, used, family="flux").memory_high)
    assert highs == sorted(highs, reverse=True)
    assert len(set(highs)) == len(highs)


def test_the_range_is_a_range_and_says_what_it_rests_on(tmp_path: Path) -> None:
    found = needs(tmp_path)
    assert 0 < found.memory_low < found.memory_high
    assert "rough" in found.basis
    assert needs(tmp_path, family="lumina").basis == "not known for lumina"


def test_a_folder_of_full_size_comes_to_what_is_known_of_its_family(tmp_path: Path) -> None:
    train = {"network_train_unet_only": False, "network_args": ["conv_dim=4"]}
    for family, kind in (("sd15", anatomy.SD15), ("sdxl", anatomy.SDXL)):
        base, theirs = tmp_path / family, diffusers_names(family)
        parts = {
            "unet": {rename(name, theirs): shape for name, shape in anatomy.unet(kind)},
            "text_encoder": dict(anatomy.clip(*CLIP_L)),
            **({"text_encoder_2": dict(anatomy.clip(*CLIP_G))} if family == "sdxl" else {}),
        }
        for part, tensors in parts.items():
            typed = {name: ("F16", shape) for name, shape in tensors.items()}
            write(base / part / "model.safetensors", typed, {}, None)
        found = lora_layers(
            Options(
                recipe(
                    tmp_path, train | {"pretrained_model_name_or_path": str(base)}, family=family
                )
            )
        )
        assert found == lora_layers(Options(recipe(tmp_path, train, family=family)))


def test_the_lora_of_the_projects_own_small_base_is_as_small_as_it_is(tmp_path: Path) -> None:
    base = Path(__file__).parents[2] / "recipes" / "demo" / "base"
    train = {
        "pretrained_model_name_or_path": str(base),
        "network_dim": 16,
        "save_precision": "fp16",
        "network_train_unet_only": False,
        "network_args": ["conv_dim=8", "conv_alpha=8"],
        "resolution": "64",
    }
    assert len(lora_layers(Options(recipe(tmp_path, train)))) == 91  # as the trained file has them
    assert lora_data_bytes(Options(recipe(tmp_path, train))) == 899_510
    assert needs(tmp_path, train).lora_bytes == pytest.approx(945_478, rel=0.01)
    size = size_of(Options(recipe(tmp_path, train)))
    assert size is not None
    assert (size.unet, size.text) == (2_269_972, 358_656)
    assert size.plain_gb == pytest.approx(1.5 * 48 / 320)
    assert needs(tmp_path, train).memory_low < 1e9


def test_of_the_same_weights_in_several_formats_one_is_counted(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.fp16.safetensors"):
        tensors = {"conv_in.weight": ("F16", (10, 10)), "b": ("F16", (5,))}
        weights(tmp_path / "base" / "unet" / name, tensors)
    (tmp_path / "base" / "unet" / "x.safetensors").write_bytes(b"nothing")
    base = base_of(tmp_path / "base")
    assert base is not None
    assert (base.unet, base.texts, base.vae) == ({"conv_in.weight": (10, 10), "b": (5,)}, (), {})


@pytest.mark.parametrize("unet", [None, b"nothing", {}, {"a": ("F16", (10, 10))}])
def test_a_folder_that_tells_nothing_counts_as_full_size(tmp_path: Path, unet: Any) -> None:
    place = tmp_path / "base" / "unet" / "x.safetensors"
    place.parent.mkdir(parents=True)
    if isinstance(unet, bytes):
        place.write_bytes(unet)
    elif unet is not None:
        weights(place, unet)
    assert base_of(tmp_path / "base") is None
    train = {"pretrained_model_name_or_path": str(tmp_path / "base")}
    assert size_of(Options(recipe(tmp_path, train))) == FAMILIES["sd15"].size


@pytest.mark.parametrize(
    ("family", "train", "size"),
    [  # at rank 4; equal to what sd-scripts builds
        ("sd15", {"network_args": ["conv_dim=4"]}, 19_468_664),
        ("sdxl", {"network_args": ["conv_dim=4"]}, 63_642_736),
        (
            "flux",
            {"network_args": ["train_t5xxl=True"], "network_module": "networks.lora_flux"},
            108_333_184,
        ),
        (
            "flux",
            {
                "network_args": ["train_blocks=double"],
                "network_module": "networks.lora_flux",
                "network_train_unet_only": True,
            },
            42_959_608,
        ),
        (
            "flux",
            {
                "network_args": ["train_blocks=single"],
                "network_module": "networks.lora_flux",
                "network_train_unet_only": True,
            },
            33_620_424,
        ),
    ],
)
def test_the_bytes_of_a_lora_are_known_to_the_last(
    tmp_path: Path, family: str, train: dict[str, Any], size: int
) -> None:
    train = {"network_dim": 4, "network_train_unet_only": False, **train}
    assert lora_data_bytes(Options(recipe(tmp_path, train, family=family))) == size


def test_a_text_encoder_that_is_trained_stays_in_memory_whatever_is_cached(tmp_path: Path) -> None:
    flux = {"network_module": "networks.lora_flux", "network_train_unet_only": False}
    plain, cached = (
        needs(tmp_path, {**flux, "cache_text_encoder_outputs": value}, family="flux")
        for value in (False, True)
    )
    assert plain.memory_low == cached.memory_low
