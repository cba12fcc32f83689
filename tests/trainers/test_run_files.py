from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toml
from plan_cases import folder, recipe

from lorakit.catalogue.options import options
from lorakit.dataset.scan import scan
from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.plan.complete import PATHS, completed
from lorakit.recipe.options import Options
from lorakit.trainers import run_files


def full(root: Path, train: dict[str, Any] | None = None, **sections: Any) -> Options:
    return completed(Options(recipe(root, train, **sections)), root / "run", ())


def train_toml(options: Options) -> dict[str, Any]:
    return toml.loads(run_files.train_toml(options, run_files.settings_for(options)))


def test_resolution_is_a_text_because_the_script_splits_it(tmp_path: Path) -> None:
    for value in ("768", "768,768", 768, [768, 768]):
        assert train_toml(full(tmp_path, {"resolution": value}))["resolution"] == "768,768"


def test_resolution_is_in_the_config_although_the_dataset_file_has_it_so_that_the_metadata_is_true(
    tmp_path: Path,
) -> None:
    folder(tmp_path / "data" / "1_a", [(512, 512)])
    assert train_toml(full(tmp_path, {"resolution": "640,512"}))["resolution"] == "640,512"
    assert dataset_toml(tmp_path, {"resolution": "640,512"})["datasets"][0]["resolution"] == [
        640,
        512,
    ]
    assert (
        train_toml(full(tmp_path, without=("resolution",), family="sdxl"))["resolution"]
        == "1024,1024"
    )


def test_whole_numbers_become_floats_where_the_script_wants_floats(tmp_path: Path) -> None:
    data = train_toml(
        full(tmp_path, {"learning_rate": 1, "text_encoder_lr": [1e-5, 0], "network_alpha": 8})
    )
    assert data["learning_rate"] == 1.0
    assert isinstance(data["learning_rate"], float)
    assert data["text_encoder_lr"] == [1e-5, 0.0]
    assert isinstance(data["network_alpha"], float)


def test_only_options_of_the_script_are_written(tmp_path: Path) -> None:
    data = train_toml(full(tmp_path, {"ema_decay": 0.999, "learing_rate": 1.0}))
    assert "ema_decay" not in data
    assert "learing_rate" not in data


def test_unset_and_empty_values_are_left_out(tmp_path: Path) -> None:
    data = train_toml(full(tmp_path, {"vae": "", "logging_dir": None}))
    assert "vae" not in data
    assert data.get("logging_dir") != ""


def test_a_seed_is_written_so_that_no_process_draws_its_own(tmp_path: Path) -> None:
    assert train_toml(full(tmp_path))["seed"] == 42
    assert train_toml(full(tmp_path, {"seed": 7}))["seed"] == 7


def test_validation_has_a_seed_so_that_it_shares_no_image_with_training(tmp_path: Path) -> None:
    assert train_toml(full(tmp_path, {"validation_split": 0.1}))["validation_seed"] == 42
    assert train_toml(full(tmp_path, {"validation_split": 0.1, "seed": 7}))["validation_seed"] == 7
    assert "validation_seed" not in train_toml(full(tmp_path))


@pytest.mark.parametrize(
    ("train", "workers"),
    [({}, 2), ({"cache_latents": True}, 1), ({"cache_latents_to_disk": True}, 1)],
)
def test_few_workers_read_the_images_because_eight_would_repeat_some(
    tmp_path: Path, train: dict[str, Any], workers: int
) -> None:
    assert train_toml(full(tmp_path, train))["max_data_loader_n_workers"] == workers


def test_the_plan_adds_what_would_otherwise_go_wrong_in_silence(tmp_path: Path) -> None:
    data = train_toml(full(tmp_path))
    assert data["caption_extension"] == ".txt"
    assert data["network_module"] == "networks.lora"
    assert data["output_dir"] == (tmp_path / "run/output").as_posix()
    assert data["output_name"] == "maya"
    assert data["mixed_precision"] == "no"
    assert data["metadata_trigger_phrase"] == "maya_char"
    assert data["dataset_config"] == (tmp_path / "run/dataset.toml").as_posix()
    assert "train_data_dir" not in data


def test_additions_never_win_over_the_person(tmp_path: Path) -> None:
    data = train_toml(
        full(
            tmp_path,
            {
                "seed": 7,
                "max_data_loader_n_workers": 5,
                "output_name": "other",
                "mixed_precision": "bf16",
            },
        )
    )
    assert (
        data["seed"],
        data["max_data_loader_n_workers"],
        data["output_name"],
        data["mixed_precision"],
    ) == (7, 5, "other", "bf16")


def test_every_addition_says_why(tmp_path: Path) -> None:
    added = {
        key: setting.source
        for key, setting in full(tmp_path).resolved.train.items()
        if setting.source.startswith("plan")
    }
    assert len(added) > 8
    assert all(source.removeprefix("plan: ") != source for source in added.values())


def test_sections_become_options(tmp_path: Path) -> None:
    data = train_toml(
        full(
            tmp_path,
            sample={"prompts": ["a"], "every_n_epochs": 2, "at_first": True, "sampler": "euler"},
            model={"network_weights": "start.safetensors"},
        )
    )
    assert (data["sample_every_n_epochs"], data["sample_at_first"], data["sample_sampler"]) == (
        2,
        True,
        "euler",
    )
    assert data["sample_prompts"] == (tmp_path / "run/prompts.toml").as_posix()
    assert data["network_weights"] == (tmp_path / "start.safetensors").as_posix()
    assert data["tokenizer_cache_dir"] == (tmp_path / "tokenizers").as_posix()


def test_relative_paths_become_absolute_with_forward_slashes(tmp_path: Path) -> None:
    data = train_toml(
        full(tmp_path, {"base_weights": ["a/b.safetensors"], "log_tracker_config": "t.toml"})
    )
    assert data["base_weights"] == [(tmp_path / "a/b.safetensors").as_posix()]
    assert data["log_tracker_config"] == (tmp_path / "t.toml").as_posix()


def test_folder_mode_names_the_folders_instead_of_a_dataset_file(tmp_path: Path) -> None:
    data = train_toml(full(tmp_path, dataset={"mode": "folders", "reg_path": "reg"}))
    assert data["train_data_dir"] == (tmp_path / "data").as_posix()
    assert data["reg_data_dir"] == (tmp_path / "reg").as_posix()
    assert "dataset_config" not in data


def dataset_toml(
    root: Path, train: dict[str, Any] | None = None, **sections: Any
) -> dict[str, Any]:
    resolved = full(root, train, **sections)
    facts = scan(root / "data", reg=root / "reg" if (root / "reg").exists() else None)
    data: dict[str, Any] = toml.loads(run_files.dataset_toml(resolved, facts))
    return data


def test_the_dataset_file_spells_everything_out(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "10_maya_char", [(512, 512)])
    folder(tmp_path / "reg" / "1_person", [(512, 512)])
    data = dataset_toml(tmp_path, {"train_batch_size": 2, "min_bucket_reso": 320})
    (dataset,) = data["datasets"]
    subsets = dataset.pop("subsets")
    assert dataset == {
        "resolution": [512, 512],
        "batch_size": 2,
        "enable_bucket": True,
        "min_bucket_reso": 320,
        "max_bucket_reso": 1024,
        "bucket_reso_steps": 64,
        "bucket_no_upscale": False,
    }
    assert subsets == [
        {
            "image_dir": (tmp_path / "data/10_maya_char").as_posix(),
            "num_repeats": 10,
            "class_tokens": "maya_char",
            "caption_extension": ".txt",
        },
        {
            "image_dir": (tmp_path / "reg/1_person").as_posix(),
            "num_repeats": 1,
            "class_tokens": "person",
            "caption_extension": ".txt",
            "is_reg": True,
        },
    ]


def test_buckets_off_leaves_their_bounds_out(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_a", [(512, 512)])
    (dataset,) = dataset_toml(tmp_path, {"enable_bucket": False})["datasets"]
    assert set(dataset) == {"resolution", "batch_size", "enable_bucket", "subsets"}


def test_a_share_is_a_float_with_a_seed_beside_it(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_a", [(512, 512)])
    (dataset,) = dataset_toml(tmp_path, {"validation_split": 0.25, "seed": 9})["datasets"]
    assert (dataset["validation_split"], dataset["validation_seed"]) == (0.25, 9)


def test_a_folder_with_masks_has_no_class_tokens_which_the_script_would_refuse(
    tmp_path: Path,
) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    masks = {"subset": {"1_maya": {"conditioning_data_dir": "masks"}}}
    (subset,) = dataset_toml(tmp_path, dataset=masks)["datasets"][0]["subsets"]
    assert "class_tokens" not in subset
    assert subset["conditioning_data_dir"] == "masks"


def test_a_folder_has_its_own_words(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    (dataset,) = dataset_toml(
        tmp_path,
        dataset={"subset": {"10_maya": {"num_repeats": 3, "flip_aug": True, "class_tokens": "x"}}},
    )["datasets"]
    (subset,) = dataset["subsets"]
    assert (subset["num_repeats"], subset["flip_aug"], subset["class_tokens"]) == (3, True, "x")


@pytest.mark.parametrize("name", ['1_it\'s "quoted"', "2_日本 語", "3_[x] #y", "4_a,b = c"])
def test_odd_folder_names_survive(tmp_path: Path, name: str) -> None:
    folder(tmp_path / "data" / name, [(512, 512)])
    (subset,) = dataset_toml(tmp_path)["datasets"][0]["subsets"]
    assert subset["image_dir"] == (tmp_path / "data" / name).as_posix()


def prompts(root: Path, lines: list[str], **sample: Any) -> tuple[list[dict[str, Any]], list[str]]:
    faults: list[Fault] = []
    options = full(root, {"resolution": "768,1024", "seed": 5}, sample={"prompts": lines, **sample})
    text = run_files.prompts_toml(options, faults)
    data = toml.loads(text)
    merged = [
        {**{key: value for key, value in data["prompt"].items() if key != "subset"}, **subset}
        for subset in data["prompt"]["subset"]
    ]
    return merged, [fault.rule for fault in faults]


def test_prompts_are_complete_and_at_the_trainings_own_size(tmp_path: Path) -> None:
    found, faults = prompts(
        tmp_path, ["maya_char, portrait", "a, (b:1.2)"], negative="blurry", steps=20, scale=6.5
    )
    common = {
        "width": 768,
        "height": 1024,
        "seed": 5,
        "sample_steps": 20,
        "scale": 6.5,
        "negative_prompt": "blurry",
    }
    assert found == [
        {"prompt": "maya_char, portrait", **common},
        {"prompt": "a, (b:1.2)", **common},
    ]
    assert faults == []


def test_samples_may_have_a_seed_of_their_own(tmp_path: Path) -> None:
    assert [one["seed"] for one in prompts(tmp_path, ["fox", "fox --d 3"], seed=9)[0]] == [9, 3]


def test_the_logs_lie_in_the_runs_folder_and_deepspeed_is_handed_on(tmp_path: Path) -> None:
    data = train_toml(full(tmp_path, launch={"deepspeed": True}))
    assert (data["logging_dir"], data["deepspeed"]) == ((tmp_path / "run/logs").as_posix(), True)


@pytest.mark.parametrize("key", [key for key in PATHS if key != "tokenizer_cache_dir"])
def test_every_path_becomes_absolute(tmp_path: Path, key: str) -> None:
    assert any(key in options("kohya", family.script) for family in FAMILIES.values())
    assert full(tmp_path, {key: "a/b"}).value(key) == (tmp_path / "a/b").as_posix()


def test_a_prompt_that_begins_like_an_option_stays_a_prompt(tmp_path: Path) -> None:
    found, _ = prompts(tmp_path, ["s 30 cats", "# a title"])
    assert [one["prompt"] for one in found] == ["s 30 cats", "# a title"]
    assert all("sample_steps" not in one for one in found)


def test_options_inside_a_prompt_are_understood(tmp_path: Path) -> None:
    found, faults = prompts(
        tmp_path, ["fox --w 640 --h 512 --d 1 --s 12 --l 7.5 --n ugly, bad --ss euler"]
    )
    assert found == [
        {
            "prompt": "fox",
            "width": 640,
            "height": 512,
            "seed": 1,
            "sample_steps": 12,
            "scale": 7.5,
            "negative_prompt": "ugly, bad",
            "sample_sampler": "euler",
        }
    ]
    assert faults == []


@pytest.mark.parametrize("line", ["fox --q 3", "fox --w wide", "fox --d -1", "fox --l high"])
def test_options_that_kohya_would_cut_out_or_ignore_are_faults(tmp_path: Path, line: str) -> None:
    assert prompts(tmp_path, [line])[1] == ["prompt-option"]


def test_a_sample_smaller_than_the_script_draws_is_a_fault(tmp_path: Path) -> None:
    assert prompts(tmp_path, ["fox"], width=64, height=64)[1] == []
    assert prompts(tmp_path, ["fox"], width=63, height=-1)[1] == ["sample-size", "sample-size"]
    assert prompts(tmp_path, ["fox --w 8"])[1] == ["sample-size"]
