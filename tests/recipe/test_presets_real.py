"""Every shipped preset's files pass the real script's own parsing, schema and assertions, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from lorakit.families import FAMILIES
from lorakit.machine import Gpu, Machine
from lorakit.plan.make import make_plan
from lorakit.recipe import presets
from lorakit.recipe.resolve import resolve

PROBE = Path(__file__).with_name("scripts_probe.py")
CARD = Machine("Linux", "x86_64", 8, 64 << 30, (Gpu("a card", 48 << 30),))


def small_project(root: Path) -> None:
    from PIL import Image

    folder = root / "datasets" / "x" / "10_x_char"
    folder.mkdir(parents=True)
    for number in range(12):
        Image.new("RGB", (768, 640 + 32 * (number % 3)), (number, 90, 90)).save(
            folder / f"{number}.png"
        )
        (folder / f"{number}.txt").write_text(f"x_char, picture {number}", encoding="utf-8")


def written_plan(root: Path, preset: str) -> tuple[str, str]:
    """The script's module and the train.toml of a plan that is written out."""
    recipe = root / "recipes" / f"{preset}.toml"
    recipe.parent.mkdir(exist_ok=True)
    family = presets.read(preset).family
    weights = "".join(
        f'{weight.key} = "{weight.key}.safetensors"\n'
        for weight in FAMILIES[family].weights
        if weight.required
    )
    recipe.write_text(
        f'preset = "{preset}"\ntrigger = "x_char"\n[model]\n{weights}[dataset]\npath = "datasets/x"\n',
        encoding="utf-8",
    )
    resolved, faults = resolve(recipe)
    run_dir = root / "runs" / preset
    plan = make_plan(resolved, faults, run_dir=run_dir, machine=CARD)
    run_dir.mkdir(parents=True)
    for name, text in plan.files.items():
        (run_dir / name).write_text(text, encoding="utf-8")
    return FAMILIES[family].script.removesuffix(".py"), str(run_dir / "train.toml")


@pytest.mark.real
def test_every_preset_passes_the_scripts_own_parsing_schema_and_assertions(
    sd_scripts: Path, tmp_path: Path
) -> None:
    small_project(tmp_path)
    cases = {name: written_plan(tmp_path, name) for name in presets.names()}
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    done = subprocess.run(
        [
            os.environ["LORAKIT_SD_SCRIPTS_PYTHON"],
            str(PROBE),
            str(sd_scripts),
            str(tmp_path / "cases.json"),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == dict.fromkeys(cases, "")
