"""Every shipped preset's files pass the real script's own parsing, schema and assertions, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from plan_cases import weights

from lorakit.families import FAMILIES
from lorakit.machine import Gpu, Machine
from lorakit.plan.make import make_plan
from lorakit.recipe import presets
from lorakit.recipe.resolve import resolve
from lorakit.trainers.table import trainer

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
    """The script's module, and the file that it reads, of a plan that is written out."""
    recipe = root / "recipes" / f"{preset}.toml"
    recipe.parent.mkdir(exist_ok=True)
    page = presets.read(preset)
    about = FAMILIES[page.family].by(page.trainer)
    lines = "".join(
        f'{weight.key} = "{weight.key}.safetensors"\n'
        for weight in about.weights
        if weight.required
    )
    recipe.write_text(
        f'preset = "{preset}"\ntrigger = "x_char"\n[model]\n{lines}[dataset]\npath = "datasets/x"\n',
        encoding="utf-8",
    )
    resolved, faults = resolve(recipe)
    run_dir = root / "runs" / preset
    plan = make_plan(resolved, faults, run_dir=run_dir, machine=CARD)
    run_dir.mkdir(parents=True)
    for name, text in plan.files.items():
        (run_dir / name).write_text(text, encoding="utf-8")
    return about.script.removesuffix(".py"), str(run_dir / trainer(page.trainer).CONFIG)


def asked(root: Path, who: str, *words: str) -> tuple[dict[str, str], set[str]]:
    """What its scripts said to the pages of a trainer, and the pages."""
    small_project(root)
    own = [name for name in presets.names() if presets.read(name).trainer == who]
    cases = {name: written_plan(root, name) for name in own}
    (root / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    done = subprocess.run(
        [*words, str(root / "cases.json")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), set(cases)


@pytest.mark.real
def test_every_preset_passes_the_scripts_own_parsing_schema_and_assertions(
    sd_scripts: Path, tmp_path: Path
) -> None:
    python = os.environ["LORAKIT_SD_SCRIPTS_PYTHON"]
    answers, pages = asked(tmp_path, "kohya", python, str(PROBE), str(sd_scripts))
    assert answers == dict.fromkeys(pages, "")


@pytest.mark.real
def test_every_preset_of_musubi_passes_its_scripts_own_parsing_and_schema(
    musubi_tuner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(musubi_tuner / "src"))
    probe = str(PROBE.with_name("musubi_parse_probe.py"))
    # Wan's script reads the precision out of its weights before anything else.
    weights(tmp_path / "base.safetensors", {"blocks.0.cross_attn.k.weight": ("BF16", (4, 4))})
    answers, pages = asked(tmp_path, "musubi", os.environ["LORAKIT_MUSUBI_PYTHON"], probe)
    assert answers == dict.fromkeys(pages, "")


@pytest.mark.real
def test_every_preset_of_ai_toolkit_passes_its_own_loader_which_knows_every_key(
    ai_toolkit: Path, tmp_path: Path
) -> None:
    python, probe = os.environ["LORAKIT_AI_TOOLKIT_PYTHON"], PROBE.with_name("ai_toolkit_load_probe.py")  # fmt: skip
    answers, pages = asked(tmp_path, "ai-toolkit", python, str(probe), str(ai_toolkit))
    assert answers == dict.fromkeys(pages, "")
