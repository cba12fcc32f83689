"""A recipe becomes one Resolved in which every value tells its source, and everything that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lorakit.errors import Fault, RecipeError
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve

HEAD = 'preset = "sdxl"\nname = "maya"\ntrigger = "maya_char"\n'
Say = Callable[..., tuple[Resolved, tuple[Fault, ...]]]


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Write a recipe and resolve it."""

    def written(text: str, *, sets: Sequence[str] = (), unsets: Sequence[str] = (), head: str = HEAD) -> tuple[Resolved, tuple[Fault, ...]]:
        file = tmp_path / "recipes" / "maya.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(head + text, encoding="utf-8")
        return resolve(file, sets=sets, unsets=unsets)

    return written


def told(faults: Sequence[Fault], severity: str = "error") -> list[str]:
    return [str(fault) for fault in faults if fault.severity == severity]


TEN = """preset  = "sdxl"
name    = "maya"
trigger = "maya char"
[model]
base = "models/base.safetensors"
clip_l = "models/clip_l.safetensors"
[dataset]
path = "datasets/maya"
[train]
netwrok_dim = 16
mixed_precision = "bf61"
cache_latents = "true"
max_train_epochs = 8.0
output_dir = "out"
guidance_scale = 1.0
network_args = "conv_dim=4"
prompts = ["a"]
[sample]
every_epochs = 1
prompts = ["{triger}, portrait"]
[lanch]
processes = 2
"""


def test_a_recipe_with_a_dozen_faults_tells_all_of_them_at_once_with_their_lines(say: Say) -> None:
    _, faults = say(TEN, head="")
    errors = told(faults)
    expected = [
        ("recipes/maya.toml:3 trigger", "Write maya_char"),
        ("recipes/maya.toml:6 [model] clip_l", "sdxl has no such file"),
        ("recipes/maya.toml:10 [train] netwrok_dim", "Did you mean network_dim?"),
        ("recipes/maya.toml:11 [train] mixed_precision", "Did you mean bf16?"),
        ("recipes/maya.toml:12 [train] cache_latents", "Write cache_latents = true."),
        ("recipes/maya.toml:13 [train] max_train_epochs", "Write max_train_epochs = 8."),
        ("recipes/maya.toml:14 [train] output_dir", "lorakit writes this option itself"),
        ("recipes/maya.toml:15 [train] guidance_scale", "flux only"),
        ("recipes/maya.toml:16 [train] network_args", 'Write network_args = ["conv_dim=4"].'),
        ("recipes/maya.toml:17 [train] prompts", "stands in [sample] too (recipes/maya.toml:20)"),
        ("recipes/maya.toml:19 [sample] every_epochs", "Did you mean every_n_epochs?"),
        ("recipes/maya.toml:20 [sample] prompts", "Did you mean {trigger}?"),
        ("recipes/maya.toml:21 [lanch]", "Did you mean launch?"),
    ]
    for where, what in expected:
        assert [error for error in errors if error.startswith(where + ":") and what in error], (where, what)
    assert len(errors) == len(expected)


def test_every_value_remembers_its_source(say: Say) -> None:
    resolved, faults = say("[train]\nmax_train_epochs = 8\n", sets=["seed=7"])
    assert not told(faults)
    assert resolved.train["max_train_epochs"].source == "recipes/maya.toml:5"
    assert resolved.train["seed"] .source == "--set"
    assert resolved.train["network_dim"].source == "preset sdxl"
    assert resolved.train["max_train_epochs"].value == 8


def test_a_key_nobody_sets_is_absent(say: Say) -> None:
    resolved, _ = say("")
    assert "noise_offset" not in resolved.train
    assert resolved.get("noise_offset", 0.1) == 0.1


def test_the_family_is_the_lowest_layer(say: Say) -> None:
    resolved, faults = say("", head='family = "flux"\nname = "x"\ntrigger = "x_char"\n')
    assert resolved.train["guidance_scale"].source == "family flux"
    assert not told(faults)


def test_steps_in_a_recipe_replace_epochs_of_its_preset_and_say_so(say: Say) -> None:
    resolved, faults = say("[train]\nmax_train_steps = 500\n")
    assert "max_train_epochs" not in resolved.train
    assert "max_train_epochs from preset sdxl is left out" in told(faults, "note")[0]


def test_steps_and_epochs_in_one_recipe_are_an_error(say: Say) -> None:
    _, faults = say("[train]\nmax_train_steps = 500\nmax_train_epochs = 3\n")
    assert len(told(faults)) == 1
    assert "Keep one." in told(faults)[0]


def test_changing_rank_alone_says_what_it_comes_to(say: Say) -> None:
    _, faults = say("[train]\nnetwork_dim = 16\n")
    assert "lr x alpha / rank goes from 5e-05 to 0.0001" in told(faults, "note")[0]


def test_changing_rank_and_alpha_alike_says_nothing(say: Say) -> None:
    _, faults = say("[train]\nnetwork_dim = 64\nnetwork_alpha = 32\n")
    assert not told(faults, "note")


def test_whole_numbers_become_floats_where_floats_are_meant(say: Say) -> None:
    resolved, faults = say("[train]\nnetwork_alpha = 16\ntext_encoder_lr = [1e-5, 0]\n")
    assert not told(faults)
    assert resolved.get("text_encoder_lr") == [1e-5, 0.0]
    assert isinstance(resolved.get("network_alpha"), float)


def test_placeholders_are_filled_and_wildcards_left_alone(say: Say) -> None:
    resolved, faults = say('[sample]\nprompts = ["{trigger}, {red|blue} hat, {name}"]\n')
    assert not told(faults)
    assert resolved.sample["prompts"].value == ["maya_char, {red|blue} hat, maya"]


def test_a_prompt_that_needs_a_trigger_says_that_there_is_none(say: Say) -> None:
    _, faults = say('[sample]\nprompts = ["{trigger}, a"]\n', head='preset = "sdxl"\nname = "x"\n')
    assert "the recipe has no trigger" in told(faults)[0]


def test_a_preset_nobody_knows_names_the_nearest_and_ends_where_there_is_no_family(say: Say) -> None:
    with pytest.raises(RecipeError) as caught:
        say("", head='preset = "sdlx"\nname = "x"\n')
    assert "Did you mean sdxl?" in str(caught.value)


def test_broken_toml_says_line_and_column(say: Say) -> None:
    with pytest.raises(RecipeError) as caught:
        say("[train]\nnetwork_dim = = 3\n")
    assert "recipes/maya.toml:5:15" in str(caught.value)


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        resolve(tmp_path / "none.toml")


def test_the_project_is_the_parent_of_recipes(say: Say, tmp_path: Path) -> None:
    resolved, _ = say("")
    assert resolved.root == tmp_path
    assert resolved.path_of("datasets/x") == tmp_path / "datasets/x"


def test_caption_extension_is_txt_unless_somebody_says_otherwise(say: Say) -> None:
    assert say("", head='family = "sdxl"\n')[0].dataset["caption_extension"].value == ".txt"
    moved, faults = say('[train]\ncaption_extension = ".cap"\n')
    assert moved.dataset["caption_extension"].value == ".cap"
    assert not told(faults)
