"""RECIPE is a path or a bare name; a missing one names the nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.cli.terminal.arguments import Parser
from lorakit.cli.terminal.meant import read, recipe_path
from lorakit.errors import RecipeError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "maya.toml").write_text(
        'preset = "sdxl"\ntrigger = "maya_char"\n', encoding="utf-8"
    )
    return tmp_path


@pytest.mark.parametrize("text", ["recipes/maya.toml", "recipes/maya", "maya", "maya.toml"])
def test_a_recipe_is_found_by_path_and_by_name(text: str, project: Path) -> None:
    assert recipe_path(text).resolve() == project / "recipes" / "maya.toml"


@pytest.mark.parametrize("text", ["mayo", "recipes/mayo.toml", "mayo.toml"])
def test_a_missing_one_names_the_nearest(text: str, project: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean recipes/maya\.toml\?"):
        recipe_path(text)


def test_where_there_is_no_recipe_at_all_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="lorakit new"):
        recipe_path("maya")


def test_set_and_unset_reach_the_recipe(project: Path) -> None:
    parser = Parser()
    parser.recipe()
    args = parser.parsed(
        ["maya", "--set", "network_dim=8", "--set", "seed=1", "--unset", "min_snr_gamma"]
    )
    resolved, _ = read(args)
    assert (resolved.get("network_dim"), resolved.get("seed")) == (8, 1)
    assert "min_snr_gamma" not in resolved.train


def test_a_setting_written_as_an_option_is_shown_the_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "maya", "--epochs", "5"])
    assert "--set KEY=VALUE" in capsys.readouterr().err


def test_help_of_a_command_stands_on_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["help", "dataset", "add"])
    assert "RECIPE|FOLDER PATH" in capsys.readouterr().out
