"""`plan --for`: the machine that is named is judged, and what is missing here is only noted."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from plan_cases import CUDA, folder, recipe, sd15_base

from lorakit.cli.main import main
from lorakit.machine import GB, Gpu, known_cards, machine_named
from lorakit.plan.foreseen import Estimate
from lorakit.plan.make import make_plan
from lorakit.plan.model import Verdict

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipes and nothing else: no weights, no pictures."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes", ignore=shutil.ignore_patterns("demo"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("device", ["cuda:24", "rtx4090", "RTX4090", "24GB", "rtx4090x2"])
def test_files_and_pictures_that_are_missing_here_are_notes(
    fresh_clone: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    assert main(["plan", "recipes/sage.toml", "--for", device]) == 0
    said = capsys.readouterr()
    assert "error:" not in said.err
    assert "To be there on that machine." in said.err
    assert "\nverdict " in said.out


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.toml")))
def test_every_example_recipe_of_a_fresh_clone_gets_a_verdict_for_a_rented_card(
    fresh_clone: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["plan", f"recipes/{name}.toml", "--for", "a100-80"]) == 0
    # of what nobody has measured here, no figure is made up
    unknown = "unknown: what this family needs is not known"
    measured = not {"wan22", "qwen"} & set(name.split("-"))
    assert ("fits, about" if measured else unknown) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "device", "verdict"),
    [
        ("sage", "rtx4090", "fits, about "),
        ("sage", "rtx3060", "fits, about "),
        ("sage", "rtx3070", "does not fit: about "),
        ("sage-flux", "rtx4090", "fits, about "),
        ("sage-flux", "rtx3060", "; flux-8gb would"),
        ("sage-flux", "rtx3070", "; flux-8gb might"),
        ("sage", "cuda", "unknown: about "),
        ("sage", "mps:4", "does not fit: about "),
    ],
)
def test_the_verdict_is_a_sentence(
    fresh_clone: Path, capsys: pytest.CaptureFixture[str], name: str, device: str, verdict: str
) -> None:
    main(["plan", f"recipes/{name}.toml", "--for", device])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("verdict ")]
    assert verdict in line


def test_programs_get_the_verdict_too(
    fresh_clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "recipes/sage.toml", "--for", "rtx4090", "--json"])
    found = json.loads(capsys.readouterr().out)["verdict"]
    assert (found["word"], found["there"]) == ("fits", 24_000_000_000)


def test_an_unknown_card_gets_the_nearest_and_is_usage(
    fresh_clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "recipes/sage.toml", "--for", "rtx409"])
    assert stopped.value.code == 2
    assert "Did you mean rtx4090?" in capsys.readouterr().err


def test_every_name_of_the_table_is_a_card() -> None:
    for name, card in known_cards().items():
        assert machine_named(name).gpus == (card,)
    assert known_cards()["rtx4090"] == Gpu("RTX 4090", 24 * GB, 8.9)


def test_a_card_without_bf16_is_named(tmp_path: Path) -> None:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "1_maya", [(512, 512)])

    def rules(card: str) -> set[str]:
        made = recipe(tmp_path, {"mixed_precision": "bf16"})
        plan = make_plan(made, run_dir=tmp_path / "run", machine=machine_named(card))
        return {fault.rule for fault in plan.faults}

    assert "card-bf16" in rules("t4")
    assert "card-bf16" not in rules("l4")


def test_a_package_that_this_machine_lacks_stops_no_plan_for_another(tmp_path: Path) -> None:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    python = tmp_path / "venv" / "bin" / "python"
    (tmp_path / "venv/lib/python3.11/site-packages/torch").mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /\n", encoding="utf-8")
    made = recipe(
        tmp_path,
        {"optimizer_type": "AdamW8bit"},
        trainer="embedded",
        launch={"python": str(python)},
    )

    def severity(machine: Any) -> set[str]:
        plan = make_plan(made, run_dir=tmp_path / "run", machine=machine)
        return {one.severity for one in plan.faults if one.rule == "package-missing"}

    assert severity(CUDA) == {"error"}
    assert severity(machine_named("rtx4090")) == {"note"}


def test_between_the_two_ends_of_the_range_it_may_fit() -> None:
    needs, card = partial(Estimate, 0, 0, 0, 0, basis=""), Gpu("a card", 24 * GB)
    said = str(Verdict.of(needs(memory_low=20 * GB, memory_high=26 * GB), card))
    assert said == "may fit: 20 to 26 of 24 GB"
    assert str(Verdict.of(needs(memory_low=0, memory_high=0), card)).startswith("unknown")


@pytest.mark.parametrize(
    ("variable", "preset", "trainer"),
    [
        ("LORAKIT_SD_SCRIPTS", "sdxl", "kohya"),
        ("LORAKIT_MUSUBI", "zimage", "musubi"),
        ("LORAKIT_AI_TOOLKIT", "flux-aitk", "ai-toolkit"),
    ],
)
def test_a_checkout_that_is_named_wrongly_here_is_a_note_for_another_machine(
    fresh_clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    preset: str,
    trainer: str,
) -> None:
    monkeypatch.setenv(variable, str(fresh_clone / "nowhere"))
    assert main(["new", "fox", "--preset", preset, "--trigger", "zxfox"]) == 0
    assert main(["plan", "recipes/fox.toml", "--for", "a100-80"]) == 0
    said = capsys.readouterr().err
    assert f"note: trainer = {trainer}: {variable} names" in said
    assert "error:" not in said
