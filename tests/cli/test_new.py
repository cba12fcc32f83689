"""`lorakit new`: a recipe that resolves, a folder for the photos, and nothing overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.recipe import presets
from lorakit.recipe.resolve import resolve


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("preset", presets.names())
def test_a_new_recipe_resolves_without_a_word_of_complaint(preset: str, project: Path) -> None:
    assert main(["new", "maya", "--preset", preset, "--trigger", "maya_char"]) == 0
    resolved, faults = resolve(project / "recipes" / "maya.toml")
    assert not faults
    assert (resolved.name, resolved.trigger, resolved.preset) == ("maya", "maya_char", preset)
    assert resolved.root == project
    assert (project / "datasets" / "maya").is_dir()
    assert all("maya_char" in prompt for prompt in resolved.sample["prompts"].value)


def test_every_file_that_flux_needs_has_a_line(project: Path) -> None:
    main(["new", "maya", "--preset", "flux", "--trigger", "maya_char"])
    assert set(resolve(project / "recipes" / "maya.toml")[0].model) == {
        "base",
        "clip_l",
        "t5xxl",
        "ae",
    }


def test_a_new_recipe_proposes_to_hold_pictures_out_where_its_preset_does_not(
    project: Path,
) -> None:
    main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char"])
    main(["new", "owl", "--preset", "sd15-cpu", "--trigger", "owl_char"])
    texts = [(project / "recipes" / f"{name}.toml").read_text() for name in ("maya", "owl")]
    assert ["# validation_split = 0.15" in text for text in texts] == [True, False]


def test_it_says_what_to_type_next(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char", "--dir", "there"])
    err = capsys.readouterr().err
    assert "lorakit dataset add there/recipes/maya.toml" in err
    assert (project / "there" / "recipes" / "maya.toml").is_file()


def test_an_existing_recipe_is_left_alone_and_an_existing_dataset_kept(project: Path) -> None:
    (project / "datasets" / "maya").mkdir(parents=True)
    (project / "datasets" / "maya" / "note.txt").write_text("keep", encoding="utf-8")
    assert main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char"]) == 0
    before = (project / "recipes" / "maya.toml").read_text(encoding="utf-8")
    assert main(["new", "maya", "--preset", "flux", "--trigger", "other_char"]) == 1
    assert (project / "recipes" / "maya.toml").read_text(encoding="utf-8") == before
    assert (project / "datasets" / "maya" / "note.txt").read_text(encoding="utf-8") == "keep"


@pytest.mark.parametrize(
    ("name", "trigger", "told"),
    [
        ("a/b", "x_char", "cannot be a name"),
        ("..", "x_char", "cannot be a name"),
        ("-x", "x_char", "cannot be a name"),
        ("con", "x_char", "cannot be a name"),
        ("x" * 90, "x_char", "too long"),
        ("maya", "maya char", "Write maya_char."),
        ("maya", "", "the trigger is empty"),
        ("maya", "a/b", "cannot be a trigger"),
        ("maya", "a,b", "cannot be a trigger"),
        ("maya", "{x}", "cannot be a trigger"),
        ("maya", "x" * 101, "too long"),
    ],
)
def test_bad_names_and_triggers_are_refused_and_nothing_is_written(
    name: str, trigger: str, told: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "--preset=sdxl", f"--trigger={trigger}", "--", name]) == 1
    assert told in capsys.readouterr().err
    assert not list(project.iterdir())


def test_all_that_is_wrong_is_reported_at_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "a b", "--preset", "sdlx", "--trigger", "x y"]) == 1
    err = capsys.readouterr().err
    assert "NAME:" in err
    assert "--trigger:" in err
    assert "Did you mean sdxl?" in err


def test_without_a_preset_they_are_listed_with_the_command_to_type(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "maya", "--trigger", "maya_char"]) == 2
    out, err = capsys.readouterr()
    assert all(name in out for name in presets.names())
    assert "Next: lorakit new maya --preset sdxl --trigger maya_char" in err
    assert main(["new", "maya", "--preset", "flux"]) == 2
    assert "lorakit new maya --preset flux --trigger maya_char" in capsys.readouterr().err
    assert not list(project.iterdir())


def test_it_proposes_the_repeats_that_the_preset_was_written_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for preset, repeats in (("sd15-mps-fast", 30), ("flux-8gb", 40), ("sdxl", 10)):
        main(["new", preset, "--preset", preset, "--trigger", "maya_char"])
        assert f"PHOTOS --repeats {repeats}" in capsys.readouterr().err


def test_a_common_word_as_trigger_is_warned_of_at_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "fox", "--preset", "sdxl", "--trigger", "fox"]) == 0
    assert "fox_char would not" in capsys.readouterr().err
    assert main(["new", "fox2", "--preset", "sdxl", "--trigger", "ohwx_fox"]) == 0
    assert "warning" not in capsys.readouterr().err


LIKE = """\
# Guide 5: kai, one of several.
preset  = "sd15-cpu"
name    = "battle_kai"  # v2 is a copy
trigger = "kai"

[model]
base = "models/anything.safetensors"

[dataset]
path = "datasets/kai"   # his pictures

[dataset.subset."10_kai"]
keep_tokens = 1

[train]
clip_skip = 2                      # as anime bases were trained

[sample]
prompts = ["{trigger} portrait", "kai casting a spell"]

[subject]
origin = "drawn by me"
"""


def test_the_next_character_is_like_another_with_its_own_name_trigger_and_folder(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "recipes").mkdir()
    (project / "recipes" / "kai.toml").write_text(LIKE, encoding="utf-8")
    assert main(["new", "rin", "--like", "kai", "--trigger", "rin_v1"]) == 0
    old, _ = resolve(project / "recipes" / "kai.toml")
    new, faults = resolve(project / "recipes" / "rin.toml")
    assert not faults
    assert (new.name, new.trigger, new.dataset["path"].value) == ("rin", "rin_v1", "datasets/rin")
    assert new.sample["prompts"].value == ["rin_v1 portrait", "rin_v1 casting a spell"]
    assert {key: one.value for key, one in new.train.items()} == {
        key: one.value for key, one in old.train.items()
    }
    text = (project / "recipes" / "rin.toml").read_text(encoding="utf-8")
    assert "as anime bases were trained" in text
    assert "Guide 5: kai" not in text
    err = capsys.readouterr().err
    assert '[dataset.subset."10_kai"]' in err  # what it cannot know is shown, not guessed
    assert "[subject]" in err
    assert "Next: lorakit dataset add recipes/rin.toml" in err


def test_a_recipe_without_a_name_of_its_own_gets_one_when_it_is_likened(project: Path) -> None:
    (project / "recipes").mkdir()
    (project / "recipes" / "kai.toml").write_text('preset = "sd15"\ntrigger = "kai"\n')
    assert main(["new", "rin", "--like", "recipes/kai.toml", "--trigger", "rin_v1"]) == 0
    new, _ = resolve(project / "recipes" / "rin.toml")
    assert (new.name, new.trigger, new.dataset["path"].value) == ("rin", "rin_v1", "datasets/rin")


def test_a_recipe_that_another_new_is_just_making_is_left_as_it_is(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looking first is not enough: the name is taken when it is written, or not at all."""
    (project / "recipes").mkdir()
    taken = project / "recipes" / "maya.toml"
    taken.symlink_to("nowhere.toml")  # no look sees it, as with one that comes a moment later
    assert main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char"]) == 1
    assert "is there already, and is left as it is" in capsys.readouterr().err
    assert taken.is_symlink()
