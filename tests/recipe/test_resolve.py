"""A recipe becomes one Resolved in which every value tells its source, and everything that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lorakit.errors import Fault, RecipeError
from lorakit.recipe.model import Consent, Resolved, Subject
from lorakit.recipe.options import Options
from lorakit.recipe.presets import find
from lorakit.recipe.resolve import resolve

HEAD = 'preset = "sdxl"\nname = "maya"\ntrigger = "maya_char"\n'
Say = Callable[..., tuple[Resolved, tuple[Fault, ...]]]


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Write a recipe and resolve it."""

    def written(
        text: str, *, sets: Sequence[str] = (), unsets: Sequence[str] = (), head: str = HEAD
    ) -> tuple[Resolved, tuple[Fault, ...]]:
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
max_train_epochs = "8"
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
        assert [error for error in errors if error.startswith(where + ":") and what in error], (
            where,
            what,
        )
    assert len(errors) == len(expected)


def test_every_value_remembers_its_source(say: Say) -> None:
    resolved, faults = say("[train]\nmax_train_epochs = 8\n", sets=["seed=7"])
    assert not told(faults)
    assert resolved.train["max_train_epochs"].source == "recipes/maya.toml:5"
    assert resolved.train["seed"].source == "--set"
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


def test_of_steps_and_epochs_in_one_recipe_the_epochs_win_and_that_is_told(say: Say) -> None:
    resolved, faults = say("[train]\nmax_train_steps = 500\nmax_train_epochs = 3\n")
    assert not told(faults)
    (warning,) = told(faults, "warning")
    assert "max_train_steps: is overridden by max_train_epochs" in warning
    assert {"max_train_steps", "max_train_epochs"} <= set(resolved.train)


@pytest.mark.parametrize(
    "line",
    [
        "resume_from_huggingface = false",  # lorakit's own
        'resume = ""',
        "guidance_scale = 3.5",  # FLUX's, and its default
        "split_mode = false",
        "ema_decay = false",  # of another trainer
    ],
)
def test_what_this_script_has_not_may_stand_where_it_asks_for_nothing(say: Say, line: str) -> None:
    resolved, faults = say(f"[train]\n{line}\n")
    assert not told(faults)
    assert "changes nothing here" in told(faults, "note")[0]
    assert line.split(maxsplit=1)[0] not in resolved.train


@pytest.mark.parametrize("line", ["split_mode = true", "guidance_scale = 1.0", "learing_rate = 0"])
def test_what_this_script_has_not_is_refused_where_it_asks_for_something(
    say: Say, line: str
) -> None:
    assert len(told(say(f"[train]\n{line}\n")[1])) == 1


@pytest.mark.parametrize(
    "key", ["training_comment", "log_prefix", "lr_scheduler_type", "log_with", "optimizer_type"]
)
def test_an_empty_text_sets_nothing_and_is_told(say: Say, key: str) -> None:
    resolved, faults = say(f'[train]\n{key} = ""\n')
    assert not told(faults)
    assert "is empty, so it sets nothing" in "".join(told(faults, "note"))
    assert not Options(resolved).is_set(key)


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


def test_a_preset_nobody_knows_names_the_nearest_and_ends_where_there_is_no_family(
    say: Say,
) -> None:
    with pytest.raises(RecipeError) as caught:
        say("", head='preset = "sdlx"\nname = "x"\n')
    assert "Did you mean sdxl?" in str(caught.value)


def test_broken_toml_says_line_and_column(say: Say) -> None:
    with pytest.raises(RecipeError) as caught:
        say("[train]\nnetwork_dim = = 3\n")
    assert "recipes/maya.toml:5:15" in str(caught.value)


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
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


STAGES = """[dataset]
path = "datasets/maya"
[train]
max_train_epochs = 4
[[stage]]
name = "faces"
[stage.dataset]
path = "datasets/maya-faces"
[stage.train]
max_train_steps = 300
[[stage]]
name = "everything"
[stage.train]
learning_rate = 5e-5
"""


def test_stages_are_layered_over_the_recipe_and_set_over_both(say: Say) -> None:
    resolved, faults = say(STAGES, sets=["seed=9"])
    assert not told(faults)
    faces, everything = resolved.stages
    assert (faces.name, everything.name) == ("faces", "everything")
    assert faces.dataset["path"].value == "datasets/maya-faces"
    assert faces.train["max_train_steps"].source == "recipes/maya.toml:13"
    assert "max_train_epochs" not in faces.train
    assert everything.dataset["path"].value == "datasets/maya"
    assert everything.train["max_train_epochs"].value == 4
    assert everything.train["learning_rate"].value == 5e-5
    assert {stage.train["seed"].value for stage in resolved.stages} == {9}
    last, _ = say(STAGES, sets=["learning_rate=1e-6"])
    assert last.stages[1].train["learning_rate"].source == "--set"


def test_a_stage_with_a_base_of_its_own_starts_anew(say: Say) -> None:
    resolved, faults = say(STAGES + '[stage.model]\nbase = "models/other.safetensors"\n')
    assert not told(faults)
    assert [stage.anew for stage in resolved.stages] == [False, True]
    assert resolved.stages[1].model["base"].value == "models/other.safetensors"
    assert resolved.stages[0].model == resolved.model


def test_stages_get_the_same_checks(say: Say) -> None:
    _, faults = say(
        '[[stage]]\nname = "a"\n[stage.train]\nlearing_rate = 1\n[[stage]]\nname = "a"\nmodle = 3\n[[stage]]\n[stage.dataset]\npaht = "x"\n'
    )
    errors = told(faults)
    assert (
        "recipes/maya.toml:7 [[stage]] [train] learing_rate: sdxl_train_network.py has no such option. Did you mean learning_rate?"
        in errors
    )
    assert "recipes/maya.toml:9 [[stage]] name: two stages are called 'a'." in errors
    assert (
        "recipes/maya.toml:10 [[stage]] modle: a stage has no such key. Did you mean model?"
        in errors
    )
    assert 'recipes/maya.toml:11 [[stage]]: has no name. Such as name = "faces".' in errors
    assert (
        "recipes/maya.toml:13 [[stage]] [dataset] paht: [dataset] has no such key. Did you mean path?"
        in errors
    )
    assert len(errors) == 5


def test_one_key_in_two_sections_is_told_once_at_the_wrong_one(say: Say) -> None:
    _, faults = say("[train]\nnetwork_dim = 16\nnetwork_alpha = 8\n[launch]\nnetwork_dim = 8\n")
    assert told(faults) == [
        "recipes/maya.toml:8 [launch] network_dim: stands in [train] too (recipes/maya.toml:5). Keep one of the two."
    ]


def test_seed_means_its_own_thing_in_two_sections(say: Say) -> None:
    resolved, faults = say("[train]\nseed = 1\n[sample]\nseed = 2\n")
    assert not told(faults)
    assert (resolved.get("seed"), resolved.sample["seed"].value) == (1, 2)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "[sample]\nmin_snr_gamma = 5\n",
            "[sample] min_snr_gamma: [sample] has no such key. min_snr_gamma belongs in [train].",
        ),
        (
            "[train]\nevery_n_epochs = 5\n",
            "sdxl_train_network.py has no such option. every_n_epochs belongs in [sample].",
        ),
        (
            "[train]\nsample_prompts = 'x'\n",
            "lorakit writes this option itself. Use [sample] prompts.",
        ),
        ("[train]\nclip_l = 'x'\n", "lorakit writes this option itself. Use [model] clip_l."),
        (
            "[train]\ntrain_data_dir = 'x'\n",
            "lorakit writes this option itself. Use [dataset] path.",
        ),
        ("[train]\nwandb_api_key = 'x'\n", "Use the environment variable WANDB_API_KEY."),
        ("[train]\nname = 'x'\n", "name stands above the first [section]."),
        ("[train]\nnetwork-dim = 3\n", "Did you mean network_dim?"),
        ("[about]\ntitle = 'x'\n", "[about] belongs in a preset."),
        ("[launch]\nenv = { A = 1 }\n", 'Write A = "...".'),
        ("[launch]\ngpu_ids = ['a']\n", "entry 1: takes an integer"),
        ("[model]\nsha256 = 'abc'\n", "is not a SHA-256"),
        (
            "[model.sha256]\nbas = '" + "0" * 64 + "'\n",
            "is not a file of this recipe. Did you mean base?",
        ),
        ("[dataset.subset.10_maya_char]\nnum_repeat = 3\n", "Did you mean num_repeats?"),
        ("[dataset.subset]\n10_maya_char = 3\n", "is not a table."),
        (
            "[dataset.subset.10_maya_char]\nclass_tokens = '{name_of}'\n",
            "{name_of} is not a word that can be filled in",
        ),
        ("[[train]]\nx = 1\n", "is a section; write [train] on a line of its own."),
        ("stage = 3\n", "write [[stage]]"),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_where_it_belongs(
    say: Say, text: str, what: str
) -> None:
    errors = told(say(text)[1])
    assert len(errors) == 1
    assert what in errors[0]


def test_a_hub_file_without_a_revision_is_a_warning(say: Say) -> None:
    _, faults = say('[model]\nbase = "hf:owner/repo/model.safetensors"\n')
    assert "names no revision" in told(faults, "warning")[0]
    assert not say('[model]\nbase = "hf:owner/repo/model.safetensors@abc123"\n')[1]


def test_another_optimizer_leaves_the_arguments_of_the_presets_behind(
    say: Say, tmp_path: Path
) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "ada.toml").write_text(
        'extends = "sdxl"\n[about]\ntitle = "x"\n[train]\noptimizer_type = "Adafactor"\noptimizer_args = ["relative_step=False"]\n',
        encoding="utf-8",
    )
    resolved, faults = say(
        '[train]\noptimizer_type = "AdamW"\n', head='preset = "ada"\ntrigger = "x_char"\n'
    )
    assert "optimizer_args" not in resolved.train
    assert "optimizer_args from preset ada is left out" in told(faults, "note")[0]


def test_tables_are_layered_key_by_key(say: Say) -> None:
    resolved, _ = say('[launch]\nenv = { A = "1", B = "2" }\n', sets=["launch.env.B=3"])
    assert resolved.launch["env"].value == {"A": "1", "B": "3"}
    assert resolved.launch["env"].source == "recipes/maya.toml:5, --set"


def test_the_embedded_trainer_is_refused_where_it_cannot_train_a_family(say: Say) -> None:
    head = 'family = "sd3"\ntrainer = "embedded"\ntrigger = "x_char"\n'
    resolved, faults = say("", head=head)
    assert 'the embedded trainer cannot train sd3. Write trainer = "kohya".' in told(faults)[0]
    assert resolved.trainer == "kohya"  # the rest is judged by one that can


def test_notes_and_subject_are_kept_and_unread(say: Say) -> None:
    resolved, faults = say('notes = "second try"\n[subject]\nkind = "character"\norigin = 2\n')
    assert not faults
    assert resolved.notes == "second try"
    assert resolved.subject == Subject(kind="character", more={"origin": "2"})


CONSENT = 'consent = { by = "Maya Lind", date = 2026-11-28, scope = "training" }'


def test_a_real_persons_consent_is_read_as_who_when_and_to_what(say: Say) -> None:
    text = (
        f'[subject]\nsource = "photos of mine"\nlicence = "mine"\nreal_person = true\n{CONSENT}\n'
    )
    resolved, faults = say(text)
    assert not faults
    assert resolved.subject.real_person
    assert resolved.subject.consent == Consent("Maya Lind", "2026-11-28", "training")
    assert resolved.subject.sentence == "photos of mine, mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "persn"', "person"),
        ("real_person = 3", "true or false"),
        ('consent = "yes"', "table"),
        ('consent = { by = "Maya" }', "is not said"),
        (CONSENT.replace("2026-11-28", '"soon"'), "is no date"),
        (CONSENT.replace("scope", "scop"), "Did you mean scope"),
        ('licens = "mine"', "Did you mean licence"),
    ],
)
def test_what_a_subject_cannot_say_is_named(say: Say, text: str, said: str) -> None:
    resolved, faults = say(f"[subject]\n{text}\n")
    assert any(said in str(fault) for fault in faults), told(faults)
    assert resolved.subject.consent is None


def test_a_family_that_contradicts_the_preset_is_refused(say: Say) -> None:
    _, faults = say("", head='preset = "sdxl"\nfamily = "flux"\ntrigger = "x_char"\n')
    assert "preset sdxl is for sdxl, not flux." in told(faults)[0]


def test_a_preset_nobody_knows_is_one_fault_among_others_where_the_family_is_said(say: Say) -> None:
    _, faults = say(
        "[train]\nlearing_rate = 1\n", head='preset = "sdlx"\nfamily = "sdxl"\ntrigger = "x_char"\n'
    )
    assert len(told(faults)) == 2


def test_nothing_at_all_says_what_a_recipe_needs(say: Say) -> None:
    with pytest.raises(RecipeError, match="neither a preset nor a family"):
        say("", head="")


def test_an_option_of_the_other_trainer_is_named_as_such(say: Say) -> None:
    _, faults = say("[train]\nema_decay = 0.999\n")
    assert (
        'only the embedded trainer has this option. Write trainer = "embedded", or leave it out.'
        in told(faults)[0]
    )
    assert not told(say("[train]\nema_decay = 0.999\n", sets=["trainer=embedded"])[1])
    _, faults = say("[train]\nxformers = true\n", sets=["trainer=embedded"])
    assert "only the kohya trainer has this option" in told(faults)[0]


def test_a_slip_above_the_sections_is_told_although_nothing_else_can_be_checked(say: Say) -> None:
    with pytest.raises(RecipeError) as raised:
        say("", head='famly = "sd15"\nname = 3\n')
    assert told(raised.value.faults) == [
        "recipes/maya.toml:1 famly: there is no such key outside the sections. Did you mean family?",
        'recipes/maya.toml:2 name: takes a text, not 3. Write name = "3".',
    ]
    assert raised.value.hint.startswith("Write preset")


def test_a_section_of_a_stage_is_a_table(say: Say) -> None:
    _, faults = say('[[stage]]\nname = "faces"\ntrain = "x"\n')
    assert told(faults) == [
        "recipes/maya.toml:6 [[stage]] train: is a section; write [stage.train] on a line of its own."
    ]


def test_a_variable_that_no_environment_can_hold_is_refused(say: Say) -> None:
    _, faults = say('[launch]\nenv = { "A=B" = "x", "" = "y", C = "a\\u0000b", D = 1, E = "=" }\n')
    assert [line.split("]")[1].split(":")[0].strip() for line in told(faults)] == [
        "env A=B",
        "env",
        "env C",
        "env D",
    ]
    assert told(faults)[-1].endswith('Write D = "...".')


@pytest.mark.parametrize("name", ["../../recipes/maya", "x" * 5000, "a/b", ""])
def test_a_preset_is_a_name_and_no_way_to_another_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / ".toml").touch()
    assert find(name, tmp_path) is None


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("[sample]\nevery_n_steps = 100\n", "every_n_epochs"),
        ("[train]\nmax_train_steps = 100\n", "max_train_epochs"),
        ('[train]\nlr_scheduler = "cosine"\n', "lr_scheduler_num_cycles"),
    ],
)
def test_what_goes_with_the_presets_choice_goes_with_it(say: Say, text: str, gone: str) -> None:
    resolved, faults = say(text)
    assert gone not in {**resolved.train, **resolved.sample}
    assert [line.split(": ", 1)[1].split(" ")[0] for line in told(faults, "note")] == [gone]


@pytest.mark.parametrize(
    "text",
    [
        "[sample]\nevery_n_epochs = 1\n",
        "[train]\nmax_train_epochs = 3\n",
        '[train]\nlr_scheduler = "cosine_with_restarts"\n',
        '[train]\nlr_scheduler = "cosine_with_min_lr"\nlr_scheduler_num_cycles = 2\n',
    ],
)
def test_a_choice_that_stays_or_brings_its_own_leaves_nothing_behind(say: Say, text: str) -> None:
    assert told(say(text)[1], "note") == []


def test_arguments_of_another_schedule_stay_below(say: Say, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "min.toml").write_text(
        '[about]\nfamily = "sd15"\n[train]\nlr_scheduler = "piecewise_constant"\nlr_scheduler_args = ["step_rules=\'1:5,0.1\'"]\n'
        'network_module = "networks.lora"\nnetwork_args = ["conv_dim=4"]\n',
        encoding="utf-8",
    )
    resolved, _ = say(
        '[train]\nlr_scheduler = "cosine"\nnetwork_module = "networks.dylora"\n',
        head='preset = "min"\ntrigger = "x_char"\n',
    )
    assert not {"lr_scheduler_args", "network_args"} & set(resolved.train)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "trian = 1\n",
            "recipes/maya.toml:4 trian: there is no such key outside the sections. Did you mean train?",
        ),
        (
            "[trainer_]\nx = 1\n",
            "recipes/maya.toml:4 [trainer_]: there is no such section. Did you mean train?",
        ),
        (
            "[zzz]\nx = 1\n",
            (
                "recipes/maya.toml:4 [zzz]: there is no such section. "
                "There are [model], [dataset], [train], [sample], [launch] and [[stage]]."
            ),
        ),
        (
            "width = 5\n",
            "recipes/maya.toml:4 width: there is no such key outside the sections. width belongs in [sample].",
        ),
        (
            "zzzz = 5\n",
            "recipes/maya.toml:4 zzzz: there is no such key outside the sections. Options belong in [train].",
        ),
        (
            "[model]\nnetwork_dim = 4\n[train]\nnetwork_dim = 4\n",
            "recipes/maya.toml:5 [model] network_dim: stands in [train] too (recipes/maya.toml:7). Keep one of the two.",
        ),
    ],
)
def test_a_word_in_no_place_or_two_is_told_where_it_belongs(say: Say, text: str, what: str) -> None:
    assert told(say(text)[1])[0] == what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            'sha256 = "abc"\n',
            ["recipes/maya.toml:5 [model] sha256: is not a SHA-256: 64 hexadecimal digits."],
        ),
        (
            'sha256 = { base = "abc" }\n',
            ["recipes/maya.toml:5 [model] sha256 base: is not a SHA-256: 64 hexadecimal digits."],
        ),
        (
            f'sha256 = {{ bsae = "{"a" * 64}" }}\n',
            [
                "recipes/maya.toml:5 [model] sha256 bsae: is not a file of this recipe. Did you mean base?"
            ],
        ),
        (f'sha256 = "{"A" * 64}"\n', []),
        (f'sha256 = {{ network_weights = "{"0" * 64}" }}\n', []),
    ],
)
def test_a_hash_is_64_digits_for_a_file_of_the_recipe(say: Say, text: str, what: list[str]) -> None:
    assert told(say(f"[model]\n{text}")[1]) == what


def test_a_wrong_word_for_one_folder_is_left_out_of_the_others(say: Say) -> None:
    resolved, faults = say("[dataset.subset.10_maya]\nflip_aug = 1\nnum_repeats = 3\n")
    assert told(faults) == [
        "recipes/maya.toml:4 [dataset] subset 10_maya.flip_aug: takes true or false, not 1. Write flip_aug = true."
    ]
    assert resolved.dataset["subset"].value == {"10_maya": {"num_repeats": 3}}
