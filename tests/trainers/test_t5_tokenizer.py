"""FLUX by the embedded trainer needs T5's tokenizer, and the plan knows whether it is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_cases import CUDA, folder, recipe

from lorakit.families import FAMILIES
from lorakit.plan.make import make_plan

FLUX = {one.key: f"{one.key}.safetensors" for one in FAMILIES["flux"].weights}


def rules(root: Path) -> set[str]:
    folder(root / "data" / "1_maya", [(512, 512)])
    made = recipe(
        root,
        {"network_module": "networks.lora_flux"},
        family="flux",
        trainer="embedded",
        model=FLUX,
    )
    return {one.rule for one in make_plan(made, run_dir=root / "run", machine=CUDA).faults}


@pytest.mark.parametrize("place", ["tokenizers/google_t5-v1_1-xxl", ".", "tokenizer_2"])
def test_it_is_found_wherever_the_trainer_looks(tmp_path: Path, place: str) -> None:
    assert "t5-tokenizer" in rules(tmp_path)
    file = tmp_path / place / "tokenizer.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}", encoding="utf-8")
    assert ("t5-tokenizer" in rules(tmp_path)) == (place == "tokenizer_2")
