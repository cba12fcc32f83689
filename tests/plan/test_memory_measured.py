"""The memory estimate beside the peaks that a driver counted, CUDA context included: one H100, both
trainers, full-size random weights, bf16, rank 32 (FLUX 16), latents and captions cached, AdamW.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, recipe

from lorakit.dataset.scan import scan
from lorakit.plan.estimate import estimate
from lorakit.plan.foreseen import Estimate
from lorakit.plan.steps import count_steps
from lorakit.recipe.options import Options

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from verdicts import CARDS, CHECKPOINTED, PAGE, PEAKS, SDXL, of_measured, text


def needs(root: Path, family: str, train: Mapping[str, Any]) -> Estimate:
    folder(root / "data" / "1_maya", [(512, 512)] * 4)
    options = Options(recipe(root, train, family=family))
    return estimate(options, count_steps(options, scan(root / "data"))[0])


@pytest.mark.parametrize("name", PEAKS)
def test_a_measured_peak_lies_in_the_range_and_the_range_is_half_as_wide(
    tmp_path: Path, name: str
) -> None:
    one = PEAKS[name]
    found = needs(tmp_path, one.family, one.train)
    low, high = found.memory_low / 1e9, found.memory_high / 1e9
    print(
        f"{name:18} measured {one.low:4.1f} to {one.high:4.1f}, estimate {low:4.1f} to {high:4.1f} GB"
    )
    assert low <= one.low or name == "flux"
    assert one.high <= high + (name == "flux")
    assert high - low <= (one.before[1] - one.before[0]) / 2
    assert "measured" in found.basis


@pytest.mark.parametrize("card", [*CARDS, "rtx5090", "h100"])
@pytest.mark.parametrize("name", PEAKS)
def test_no_verdict_contradicts_a_measured_peak(tmp_path: Path, name: str, card: str) -> None:
    one = PEAKS[name]
    found = of_measured(tmp_path, one, card)
    there = found.there / 1e9
    assert found.word != "fits" or one.high <= there
    assert found.word != "does not fit" or one.low > there


@pytest.mark.slow
def test_the_page_about_hardware_says_what_plans_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "python tools/verdicts.py"


@pytest.mark.parametrize(
    "change",
    [
        {"mixed_precision": "no"},
        {"cache_latents": False},
        {"network_train_unet_only": False},
        {"resolution": "512"},
        {"network_module": "lycoris.kohya"},
    ],
)
def test_what_was_not_measured_is_called_rough_and_its_range_is_wide(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    train = SDXL | CHECKPOINTED
    usual, other = needs(tmp_path, "sdxl", train), needs(tmp_path, "sdxl", {**train, **change})
    assert "rough" in other.basis
    assert other.memory_high / other.memory_low > usual.memory_high / usual.memory_low
