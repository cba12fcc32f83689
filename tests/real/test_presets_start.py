"""Every shipped preset's files pass the real scripts: argument parsing, their own assertions, the dataset file's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_images import draw

from lorakit.families import FAMILIES
from lorakit.files import write_atomic
from lorakit.machine import Gpu, Machine
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe import presets
from lorakit.recipe.resolve import resolve
from lorakit.rehearse import standin

ROOT = Path(__file__).parents[2]
CARD = Machine("Linux", "x86_64", 8, 128 << 30, (Gpu("A card", 80 << 30),))
MAC = Machine("Darwin", "arm64", 10, 64 << 30, ())
PLAIN = Machine("Linux", "x86_64", 8, 64 << 30, ())
NAMES = [
    name
    for name in sorted(path.stem for path in (ROOT / "presets").glob("*.toml"))
    if presets.read(name, ROOT).trainer in {"kohya", "embedded"}
]


def machine_for(name: str) -> Machine:
    return MAC if "mps" in name else PLAIN if "cpu" in name else CARD


def preset_plan(name: str, place: Path) -> Plan:
    draw(place / "data" / "10_ball", [(1200, 900), (1024, 1024), (800, 1300)])
    family = presets.read(name, ROOT).family
    model = "".join(
        f'{weight.key} = "{weight.key}.safetensors"\n'
        for weight in FAMILIES[family].weights
        if weight.required
    )
    write_atomic(
        place / "ball.toml",
        f'preset = "{name}"\ntrigger = "ball_char"\n[model]\n{model}tokenizers = "tokens"\n[dataset]\npath = "data"\n',
    )
    resolved, faults = resolve(place / "ball.toml")
    plan = make_plan(resolved, faults, run_dir=place / "run", machine=machine_for(name))
    for file, text in plan.files.items():
        write_atomic(place / "run" / file, text)
    return plan


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_breaks_no_rule_on_its_own_machine(name: str, tmp_path: Path) -> None:
    plan = preset_plan(name, tmp_path)
    allowed = {"weights-not-there", "tokenizers-offline"}
    assert [
        str(fault)
        for fault in plan.faults
        if fault.severity == "error" and fault.rule not in allowed
    ] == []


@pytest.mark.real
def test_every_preset_passes_the_real_scripts_own_checks(put: Any, tmp_path: Path) -> None:
    plans = {name: preset_plan(name, tmp_path / name) for name in NAMES}
    answers = put(
        {
            name: {
                "kind": "start",
                "script": FAMILIES[plan.resolved.family].script,
                "train_toml": str(plan.run_dir / "train.toml"),
            }
            for name, plan in plans.items()
        }
    )
    assert {
        name: answer.get("failed") for name, answer in answers.items() if "ok" not in answer
    } == {}
    for name, plan in plans.items():
        assert answers[name]["ok"]["batches"] == plan.steps.batches, name
    assert len(plans) >= 14


@pytest.mark.real
def test_folder_mode_counts_the_same(put: Any, tmp_path: Path) -> None:
    place = tmp_path / "sd15"
    explicit = preset_plan("sd15", place)
    resolved, faults = resolve(place / "ball.toml", sets=['dataset.mode="folders"'])
    folders = make_plan(resolved, faults, run_dir=place / "run2", machine=CARD)
    for file, text in folders.files.items():
        write_atomic(place / "run2" / file, text)
    answer = put(
        {
            "folders": {
                "kind": "start",
                "script": "train_network.py",
                "train_toml": str(place / "run2" / "train.toml"),
            }
        }
    )["folders"]["ok"]
    assert answer["batches"] == explicit.steps.batches == folders.steps.batches


def test_stand_ins_are_complete_for_every_family_that_has_some() -> None:
    for family in standin.FAMILIES:
        required = {weight.key for weight in FAMILIES[family].weights if weight.required}
        assert required <= set(standin.FAMILIES[family])
