from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, recipe

from lorakit.dataset.scan import scan
from lorakit.plan.estimate import estimate, lora_data_bytes, lora_layers
from lorakit.plan.model import Estimate
from lorakit.plan.steps import count_steps


def needs(root: Path, train: dict[str, Any] | None = None, **sections: Any) -> Estimate:
    folder(root / "data" / "1_maya", [(512, 512)] * 4)
    resolved = recipe(root, train, **sections)
    return estimate(resolved, count_steps(resolved, scan(root / "data"))[0])


@pytest.mark.parametrize(("family", "train", "modules"), [
    ("sd15", {}, 192), ("sd15", {"network_train_unet_only": False}, 264), ("sd15", {"network_args": ["conv_dim=4"]}, 278),
    ("sdxl", {}, 722), ("sdxl", {"network_train_unet_only": False}, 986), ("sdxl", {"network_args": ["conv_dim=4"]}, 788),
    ("flux", {"network_module": "networks.lora_flux"}, 304),
    ("flux", {"network_module": "networks.lora_flux", "network_args": ["train_blocks=double"]}, 190),
    ("lumina", {}, 0), ("sd15", {"network_module": "lycoris.kohya"}, 0),
])
def test_the_modules_are_those_that_sd_scripts_counts(tmp_path: Path, family: str, train: dict[str, Any], modules: int) -> None:
    assert len(lora_layers(recipe(tmp_path, train, family=family))) == modules


def test_size_follows_rank_and_number_format(tmp_path: Path) -> None:
    eight, sixteen = (lora_data_bytes(recipe(tmp_path, {"network_dim": rank})) for rank in (8, 16))
    assert sixteen - 192 * 4 == 2 * (eight - 192 * 4)
    assert lora_data_bytes(recipe(tmp_path, {"network_dim": 8, "save_precision": "fp16"})) * 2 == eight


def test_known_sizes_of_everyday_loras(tmp_path: Path) -> None:
    assert lora_data_bytes(recipe(tmp_path, {"network_dim": 4, "save_precision": "fp16"})) == 192 * 2 + 2 * 1_695_744
    assert round(needs(tmp_path, {"network_dim": 32, "save_precision": "bf16"}, family="sdxl").lora_bytes / 1e6) == 171


def test_disk_counts_what_stays_and_what_passes(tmp_path: Path) -> None:
    plain = needs(tmp_path, {"max_train_epochs": 4})
    every = needs(tmp_path, {"max_train_epochs": 4, "save_every_n_epochs": 1})
    last = needs(tmp_path, {"max_train_epochs": 4, "save_every_n_epochs": 1, "save_last_n_epochs": 1})
    assert plain.disk_bytes == plain.lora_bytes
    assert every.disk_bytes == 4 * every.lora_bytes
    assert last.disk_bytes == 3 * last.lora_bytes


def test_states_are_three_times_the_lora_and_half_that_with_an_8_bit_optimiser(tmp_path: Path) -> None:
    full, small = needs(tmp_path), needs(tmp_path, {"optimizer_type": "AdamW8bit"})
    assert full.state_bytes == 2 * small.state_bytes
    assert full.state_bytes / full.lora_bytes == pytest.approx(3, rel=0.05)


def test_caches_are_counted_only_when_they_go_to_disk(tmp_path: Path) -> None:
    assert needs(tmp_path, {"cache_latents": True}).cache_bytes == 0
    assert needs(tmp_path, {"cache_latents_to_disk": True}).cache_bytes == 4 * 4 * 64 * 64 * 4
    assert needs(tmp_path, {"cache_latents_to_disk": True, "flip_aug": True}).cache_bytes == 2 * 4 * 4 * 64 * 64 * 4


def test_memory_falls_with_everything_that_is_said_to_save_it(tmp_path: Path) -> None:
    base = {"mixed_precision": "bf16", "network_module": "networks.lora_flux", "resolution": "1024"}
    ways: list[dict[str, Any]] = [{}, {"gradient_checkpointing": True}, {"cache_text_encoder_outputs": True}, {"cache_latents": True}, {"fp8_base": True},
                                  {"blocks_to_swap": 18}, {"optimizer_type": "AdamW8bit"}, {"resolution": "512"}]
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
