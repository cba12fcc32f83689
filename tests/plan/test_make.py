from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toml
from plan_cases import CUDA, MAC, PLAIN, folder, recipe, sd, sd15_base, section, weights

from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.plan.document import as_document, command_text
from lorakit.plan.make import in_order, make_plan, make_plans
from lorakit.plan.model import Plan
from lorakit.recipe.model import Stage
from lorakit.trainers.base import Command


def plan(
    root: Path, train: dict[str, Any] | None = None, machine: Machine = CUDA, **sections: Any
) -> Plan:
    folder(root / "data" / "10_maya_char", [(512, 512)] * 3)
    sd15_base(root)
    return make_plan(recipe(root, train, **sections), run_dir=root / "run", machine=machine)


def errors(found: Plan) -> list[str]:
    return [fault.rule for fault in found.faults if fault.severity == "error"]


def test_a_sound_recipe_has_no_errors_and_all_its_files(tmp_path: Path) -> None:
    found = plan(tmp_path, sample={"prompts": ["{trigger}"], "every_n_epochs": 1})
    assert errors(found) == []
    assert set(found.files) == {"train.toml", "dataset.toml", "prompts.toml", "accelerate.yaml"}
    assert found.steps.total == 60
    assert found.steps.sample_steps == (30, 60)
    assert found.output_dir == tmp_path / "run/output"
    assert found.output_name == "maya"


def test_planning_changes_nothing_on_disk(tmp_path: Path) -> None:
    plan(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path / "run").exists()


def test_the_same_recipe_gives_the_same_plan(tmp_path: Path) -> None:
    first = plan(tmp_path)
    second = make_plan(first.resolved, run_dir=tmp_path / "run", machine=CUDA)
    assert (first.files, first.argv, first.env, first.steps) == (
        second.files,
        second.argv,
        second.env,
        second.steps,
    )


def test_every_setting_in_the_file_has_a_source(tmp_path: Path) -> None:
    found = plan(tmp_path)
    written = toml.loads(found.files["train.toml"])
    assert written.keys() == found.settings.keys()
    assert all(setting.source for setting in found.settings.values())


def test_ten_faults_are_told_at_once(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "0_none", [(512, 512)])
    folder(tmp_path / "data" / "1_tiny", [(512, 512)])
    weights(tmp_path / "base.safetensors", sd(2048))
    resolved = recipe(
        tmp_path,
        {
            "output_name": "a/b",
            "max_train_epochs": 0,
            "validation_split": 3.0,
            "full_bf16": True,
            "save_every_n_steps": 0,
            "save_model_as": "ckpt",
            "mixed_precision": "fp8",
        },
        launch={"machine_rank": 3},
        sample={"prompts": ["x --zz 1"], "every_n_epochs": 1},
    )
    found = make_plan(
        resolved,
        [Fault("recipes/maya.toml:3", "no such key", rule="unknown-key")],
        run_dir=tmp_path / "run",
        machine=CUDA,
    )
    assert {
        "unknown-key",
        "output-name",
        "validation-share",
        "full-bf16",
        "interval-zero",
        "pickle-out",
        "machine-rank",
        "prompt-option",
        "model-family",
        "count-positive",
    } <= set(errors(found))


def test_errors_come_first_and_nothing_is_said_twice() -> None:
    warning, error = Fault("a", "w", rule="w", severity="warning"), Fault("b", "e", rule="e")
    assert in_order([warning, error, warning, error]) == (error, warning)


def test_a_missing_dataset_is_one_error_not_a_crash(tmp_path: Path) -> None:
    sd15_base(tmp_path)
    found = make_plan(recipe(tmp_path), run_dir=tmp_path / "run", machine=CUDA)
    assert errors(found) == ["no-folder"]
    assert found.steps.total == 0


def test_without_a_dataset_path_the_plan_says_where_it_goes(tmp_path: Path) -> None:
    sd15_base(tmp_path)
    resolved = replace(recipe(tmp_path), dataset=section({}))
    assert errors(make_plan(resolved, run_dir=tmp_path / "run", machine=CUDA)) == ["dataset-path"]


def test_a_prompt_that_tomls_old_reader_cannot_take_is_a_fault(tmp_path: Path) -> None:
    found = plan(tmp_path, sample={"prompts": ['""\'["\'['], "every_n_epochs": 1})
    assert errors(found) == ["toml-unreadable"]


def test_without_sd_scripts_a_plan_still_stands(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert found.script is None
    assert "no-sd-scripts" in [fault.rule for fault in found.faults]
    assert found.argv[-3].endswith("train_network.py")


def test_the_embedded_trainers_script_is_launched_the_same_way(tmp_path: Path) -> None:
    pytest.importorskip("lorakit.trainers.embedded.rules")
    found = plan(tmp_path, trainer="embedded")
    assert found.script is not None
    assert found.script.is_file()
    assert found.argv[-2:] == ("--config_file", (tmp_path / "run/train.toml").as_posix())


def test_the_commands_of_a_run_are_shown_in_order_and_the_last_one_trains(tmp_path: Path) -> None:
    found = plan(tmp_path)
    several = replace(
        found,
        commands=(Command(("python", "cache latents.py"), "latents"), *found.commands),
        env={},
    )
    assert several.argv == found.argv
    lines = command_text(several).splitlines()
    assert lines[:3] == ["# latents", "python 'cache latents.py'", "# training"]
    assert "accelerate.commands.launch" in lines[3]
    assert [one["name"] for one in as_document(several)["commands"]] == ["latents", "training"]


def test_folder_mode_has_no_dataset_file(tmp_path: Path) -> None:
    found = plan(tmp_path, dataset={"mode": "folders"})
    assert "dataset.toml" not in found.files
    assert toml.loads(found.files["train.toml"])["train_data_dir"] == (tmp_path / "data").as_posix()


def test_folder_mode_cannot_speak_about_one_folder(tmp_path: Path) -> None:
    assert errors(
        plan(tmp_path, dataset={"mode": "folders", "subset": {"10_maya_char": {"flip_aug": True}}})
    ) == ["folders-subset"]


def test_folder_mode_warns_of_the_disks_order_where_it_decides_something(tmp_path: Path) -> None:
    assert "folders-order" in [
        fault.rule
        for fault in plan(
            tmp_path, {"validation_split": 0.3, "validation_seed": 1}, dataset={"mode": "folders"}
        ).faults
    ]


def test_folder_mode_with_several_reg_folders_warns_that_the_disk_decides(tmp_path: Path) -> None:
    def told(*names: str, mode: str = "folders") -> bool:
        for name in names:
            folder(tmp_path / "reg" / name, [(512, 512)])
        found = plan(tmp_path, dataset={"mode": mode, "reg_path": "reg"})
        return "folders-reg" in [fault.rule for fault in found.faults]

    assert not told("1_woman")
    assert told("2_person")
    assert not told(mode="toml")


def test_a_warm_up_that_takes_the_whole_run_is_told(tmp_path: Path) -> None:
    def told(**train: Any) -> bool:
        found = plan(tmp_path, {"max_train_steps": 10, **train}, without=("max_train_epochs",))
        return "warmup-whole-run" in [fault.rule for fault in found.faults]

    assert told(lr_warmup_steps=10)
    assert told(lr_warmup_steps=100)
    assert not told(lr_warmup_steps=9)
    assert not told(lr_warmup_steps=0.5)
    assert not told(lr_warmup_steps=100, optimizer_type="AdamWScheduleFree")


def test_a_named_checkout_that_is_none_is_an_error_and_the_plan_still_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path))
    found = plan(tmp_path)
    assert errors(found) == ["sd-scripts-place"]
    assert found.steps.total == 60


def test_a_given_accelerate_configuration_is_not_written_and_counts_the_processes(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 3\n", encoding="utf-8")
    found = plan(tmp_path, launch={"accelerate_config": "mine.yaml"})
    assert "accelerate.yaml" not in found.files
    assert found.steps.processes == 3


def test_machines_are_told_apart_in_the_environment(tmp_path: Path) -> None:
    assert "ACCELERATE_USE_CPU" in plan(tmp_path, machine=PLAIN).env
    assert "PYTORCH_ENABLE_MPS_FALLBACK" in plan(tmp_path, machine=MAC).env


def test_stages_are_planned_one_after_the_other_and_hand_their_lora_on(tmp_path: Path) -> None:
    folder(tmp_path / "faces" / "5_maya", [(512, 512)])
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    sd15_base(tmp_path)
    whole = recipe(tmp_path)
    stages = (
        Stage(
            "faces",
            section({"path": "faces"}),
            {**whole.train, **section({"max_train_epochs": 1})},
            whole.model,
        ),
        Stage("all", whole.dataset, whole.train, whole.model),
        Stage("other", whole.dataset, whole.train, whole.model, anew=True),
    )
    first, second, third = make_plans(
        replace(whole, stages=stages), run_dir=tmp_path / "run", machine=CUDA
    )
    assert (first.stage, second.stage) == ("faces", "all")
    assert (first.steps.total, second.steps.total) == (5, 20)
    assert first.run_dir == tmp_path / "run/1-faces"
    assert (
        second.settings["network_weights"].value
        == (tmp_path / "run/1-faces/output/maya.safetensors").as_posix()
    )
    assert second.settings["network_weights"].source == "stage faces"
    assert "network_weights" not in third.settings
    assert errors(first) == errors(second) == []


def test_a_recipe_without_stages_is_one_plan(tmp_path: Path) -> None:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    assert [
        one.stage for one in make_plans(recipe(tmp_path), run_dir=tmp_path / "run", machine=CUDA)
    ] == [""]


def test_words_for_a_folder_of_one_stage_alone_are_no_fault_of_the_others(tmp_path: Path) -> None:
    folder(tmp_path / "faces" / "5_maya", [(512, 512)])
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    sd15_base(tmp_path)
    whole = recipe(
        tmp_path,
        dataset={"subset": {"10_maya": {"flip_aug": True}, "7_nobody": {"flip_aug": True}}},
    )
    faces = {**whole.dataset, **section({"path": "faces"})}
    stages = (
        Stage("faces", faces, whole.train, whole.model),
        Stage("all", whole.dataset, whole.train, whole.model),
    )
    for one in make_plans(replace(whole, stages=stages), run_dir=tmp_path / "run", machine=CUDA):
        assert [fault.where for fault in one.faults if fault.severity == "error"] == [
            "recipes/maya.toml [dataset.subset.7_nobody]"
        ]


@pytest.mark.parametrize(
    ("key", "silent"),
    [("learning_rate", "rate-unset"), ("max_train_epochs", "steps-unset"), ("", "rate-unset")],
)
def test_a_setting_that_was_refused_is_not_told_again_as_unset(
    tmp_path: Path, key: str, silent: str
) -> None:
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    sd15_base(tmp_path)
    resolved = recipe(tmp_path, without=("learning_rate", "max_train_epochs"))
    both = {
        fault.rule for fault in make_plan(resolved, run_dir=tmp_path / "run", machine=CUDA).faults
    }
    one = {
        fault.rule
        for fault in make_plan(
            resolved,
            [Fault("--set x", "takes a number.", rule="value", section="train", key=key)],
            run_dir=tmp_path / "run",
            machine=CUDA,
        ).faults
    }
    assert {"rate-unset", "steps-unset"} <= both
    assert silent not in one
    assert "value" in one


def test_a_run_without_end_is_refused_and_lists_nothing(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        {"max_train_epochs": 10**12, "save_every_n_epochs": 1, "sample_every_n_epochs": 1},
        sample={"prompts": ["x"]},
    )
    assert errors(found) == ["count-endless"]
    assert not found.steps.checkpoints
    assert not found.steps.sample_steps


def test_the_checkouts_own_script_and_python_are_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "train_network.py").touch()
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path / "sd"))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", sys.executable)
    found = plan(tmp_path)
    assert found.script == tmp_path / "sd" / "train_network.py"
    assert (found.argv[0], found.argv[-3]) == (sys.executable, found.script.as_posix())
    assert "kohya-pin" in [fault.rule for fault in found.faults]


def test_a_run_folder_near_by_is_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert (
        make_plan(recipe(tmp_path), run_dir=Path("out"), machine=CUDA).run_dir == tmp_path / "out"
    )


def test_the_cpu_is_named_in_our_accelerate_configuration(tmp_path: Path) -> None:
    assert [
        "use_cpu: true" in plan(tmp_path, machine=machine).files["accelerate.yaml"]
        for machine in (PLAIN, CUDA)
    ] == [True, False]
