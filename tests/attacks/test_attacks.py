"""A few cases of every section in the slow run; `make attack` tries all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from plan_cases import sd15_base

from attacks import secrets_kept, trainings
from attacks.__main__ import in_a_process
from attacks.sections import ALL
from attacks.table import Section


@pytest.mark.slow
@pytest.mark.parametrize("section", ALL, ids=lambda one: one.name)
def test_the_first_cases_of_every_section_are_right(section: Section, tmp_path: Path) -> None:
    tally = in_a_process(section, tmp_path, section.quick)
    assert tally.wrong == ()
    assert tally.tried == section.quick


def test_no_plan_and_no_queue_holds_a_planted_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, launch, sets, environment = secrets_kept.plant()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "1_zwx").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "1_zwx" / "a.png")
    base = sd15_base(tmp_path)
    recipe = tmp_path / "zwx.toml"
    recipe.write_text(trainings.RECIPE.replace("{base}", str(base)) + launch, encoding="utf-8")
    said = secrets_kept.planned(recipe, sets)
    assert [one.code for one in said] == [0, 0, 0, 0, 1, 0]
    wrong = {place: secrets_kept.found(tmp_path, recipe, it, said) for place, it in planted.items()}
    assert not any(wrong.values()), wrong


def test_every_section_says_what_is_right() -> None:
    assert {one.name for one in ALL if len(one.right) > 40} == {one.name for one in ALL}
    assert sum(one.full for one in ALL) > 26_000
