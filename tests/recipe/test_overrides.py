"""--set and --unset: found in their section, read as TOML where they are TOML, the last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorakit.errors import Fault
from lorakit.recipe.layers import read_key, read_overrides, read_value
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "maya.toml"
    file.write_text(
        'preset = "sdxl"\nname = "maya"\ntrigger = "maya_char"\n[model]\nbase = "a.safetensors"\n',
        encoding="utf-8",
    )
    return file


def resolved_with(
    recipe: Path, *sets: str, unsets: tuple[str, ...] = ()
) -> tuple[Resolved, list[Fault]]:
    resolved, faults = resolve(recipe, sets=sets, unsets=unsets)
    return resolved, [fault for fault in faults if fault.severity == "error"]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("16", 16),
        ("1e-4", 1e-4),
        ("true", True),
        ("bf16", "bf16"),
        ('"a b"', "a b"),
        ("[1, 2]", [1, 2]),
        ("models/x.safetensors", "models/x.safetensors"),
        ("2024-01-01", "2024-01-01"),
        ("", ""),
        ("08", "08"),
        ("C:\\x", "C:\\x"),
        ("[1,", "[1,"),
        ('["a=b"]', ["a=b"]),
    ],
)
def test_a_value_is_toml_or_else_the_bare_text(raw: str, value: Any) -> None:
    assert read_value(raw) == value


def test_only_the_first_equals_sign_divides() -> None:
    found, faults = read_overrides(['network_args=["conv_dim=4"]'])
    assert not faults
    assert found[0].value == ["conv_dim=4"]


@pytest.mark.parametrize("text", ["network_dim", "=3", ".=3", "train.=3"])
def test_what_is_not_key_equals_value_is_refused(text: str) -> None:
    assert "is not KEY=VALUE" in str(read_overrides([text])[1][0])


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("network_dim=8", "train", "network_dim", 8),
        ("train.network_dim=8", "train", "network_dim", 8),
        ("base=b.safetensors", "model", "base", "b.safetensors"),
        ("model.vae=v", "model", "vae", "v"),
        ("vae=v", "model", "vae", "v"),
        ('prompts=["a"]', "sample", "prompts", ["a"]),
        ("every_n_steps=5", "sample", "every_n_steps", 5),
        ("seed=5", "train", "seed", 5),
        ("sample.seed=5", "sample", "seed", 5),
        ("caption_extension=.cap", "dataset", "caption_extension", ".cap"),
        ("train.caption_extension=.cap", "dataset", "caption_extension", ".cap"),
        ("processes=2", "launch", "processes", 2),
        ("resolution=768", "train", "resolution", "768"),
        ("output_name=123", "train", "output_name", "123"),
        ("launch.env.A=1", "launch", "env", {"A": "1"}),
        ("dataset.subset.10_x.num_repeats=3", "dataset", "subset", {"10_x": {"num_repeats": 3}}),
    ],
)
def test_a_key_is_found_in_the_section_it_belongs_to(
    recipe: Path, text: str, section: str, key: str, value: Any
) -> None:
    resolved, faults = resolved_with(recipe, text)
    assert not faults
    setting = getattr(resolved, section)[key]
    assert (setting.value, setting.source) == (value, "--set")


def test_the_top_level_can_be_set_too(recipe: Path) -> None:
    resolved, faults = resolved_with(recipe, "trigger=fox_char", "name=fox", "preset=sd15")
    assert not faults
    assert (resolved.trigger, resolved.name, resolved.preset, resolved.family) == (
        "fox_char",
        "fox",
        "sd15",
        "sd15",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "learing_rate=1",
            "--set learing_rate: sdxl_train_network.py has no such option. Did you mean learning_rate?",
        ),
        ("trian.x=1", "--set trian.x: there is no section [trian]. Did you mean train?"),
        ("sample.prompt=a", "--set sample.prompt: [sample] has no such key. Did you mean prompts?"),
        ("network_dim=many", '--set network_dim: takes an integer, not the text "many".'),
        (
            "output_dir=x",
            "--set output_dir: lorakit writes this option itself. It goes into the run's own folder.",
        ),
        (
            "trainer=kohia",
            "--set trainer: 'kohia' is not one of kohya, embedded, ai-toolkit, musubi. Did you mean kohya?",
        ),
    ],
)
def test_a_wrong_override_is_told_by_its_own_words(recipe: Path, text: str, told: str) -> None:
    assert str(resolved_with(recipe, text)[1][0]) == told


def test_unset_takes_a_key_of_the_preset_away(recipe: Path) -> None:
    resolved, faults = resolved_with(recipe, unsets=("min_snr_gamma", "sample.prompts"))
    assert not faults
    assert "min_snr_gamma" not in resolved.train
    assert "prompts" not in resolved.sample


def test_unset_of_a_word_nobody_knows_names_the_nearest(recipe: Path) -> None:
    assert "Did you mean min_snr_gamma?" in str(
        resolved_with(recipe, unsets=("min_snr_gama",))[1][0]
    )


def test_a_recipe_can_unset_as_well(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        'preset = "sdxl"\nunset = ["min_snr_gamma"]\ntrigger = "x_char"\n', encoding="utf-8"
    )
    resolved, faults = resolve(file)
    assert not faults
    assert "min_snr_gamma" not in resolved.train


def test_unset_then_set_leaves_what_was_set(recipe: Path) -> None:
    resolved, _ = resolved_with(recipe, "min_snr_gamma=3", unsets=("min_snr_gamma",))
    assert resolved.get("min_snr_gamma") == 3.0


def test_the_last_of_two_sets_wins(recipe: Path) -> None:
    assert resolved_with(recipe, "seed=1", "seed=2")[0].get("seed") == 2


def test_dots_in_a_folders_name_are_kept_by_quotes() -> None:
    assert read_key('dataset.subset."10_v1.5" . num_repeats') == (
        "dataset",
        "subset",
        "10_v1.5",
        "num_repeats",
    )
    assert read_key("train.network_dim") == ("train", "network_dim")
    assert read_key("train..x") == ("train", "", "x")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("trigger", "--unset trigger: no section has such a key. --set trigger=... changes it."),
        (
            "launch.env.A",
            "--unset launch.env.A: only a complete key can be removed. That would be launch.env.",
        ),
        (
            "nowhere.x",
            "--unset nowhere.x: there is no section [nowhere]. There are model, dataset, train, sample, launch.",
        ),
    ],
)
def test_an_unset_that_would_do_nothing_or_too_much_is_refused(
    recipe: Path, name: str, told: str
) -> None:
    assert str(resolved_with(recipe, unsets=(name,))[1][0]) == told


def test_a_section_cannot_be_set_as_a_whole(recipe: Path) -> None:
    assert (
        str(resolved_with(recipe, "model=x")[1][0])
        == "--set model: is a section, not a key. Such as --set model.KEY=VALUE."
    )


@pytest.mark.parametrize("raw", ["[" * 5000, "9" * 5000])
def test_a_value_that_no_reader_bears_is_a_text(raw: str) -> None:
    assert read_value(raw) == raw


def test_a_variable_is_one_text(recipe: Path) -> None:
    assert (
        str(resolved_with(recipe, "launch.env.A.B=1")[1][0])
        == "--set launch.env.A.B A: takes a text."
    )


def test_a_key_has_no_keys_of_its_own_where_a_text_belongs(recipe: Path) -> None:
    assert (
        str(resolved_with(recipe, "model.base.x=1")[1][0])
        == "--set model.base.x: takes a text, not a table."
    )
