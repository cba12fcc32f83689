"""Guides 3 and 4 from the first command to ComfyUI's folder, by ai-toolkit and by musubi-tuner, as the page about them says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lorakit import tomllib
from lorakit.runs.find import run_dirs
from lorakit.runs.record import read_record

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from walk import GUIDES_PAGE, commands_of, follow, neutral

TOOLS = Path(__file__).parents[2] / "tools"
GUIDES = tomllib.read(TOOLS / "guide_walks.toml")["guide"]
MADE = [
    {"maya_000003060.safetensors", "maya-qwen.safetensors"},
    {"portrait-best54_000001250_low_noise.safetensors", "portrait-best54-wan22_low.safetensors"},
]


def test_the_page_has_the_commands_of_the_guides() -> None:
    told = commands_of(GUIDES_PAGE.read_text(encoding="utf-8"))
    typed = [guide["commands"].strip().splitlines() for guide in GUIDES]
    assert [[one.replace('"', "'") for one in guide] for guide in typed] == told


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("number", range(len(GUIDES)))
def test_the_commands_of_a_guide_end_in_comfyuis_folder(number: int, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    walked = [neutral(one.command, loras) for one in follow(loras, GUIDES[number])]
    assert walked == commands_of(GUIDES_PAGE.read_text(encoding="utf-8"))[number]
    files = (loras / "ComfyUI" / "models" / "loras").glob("*.safetensors")
    assert {one.name for one in files} == MADE[number]
    assert {read_record(one).state for one in run_dirs(loras)} == {"done"}
