from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_cases import CUDA, MAC, PLAIN, recipe

from lorakit.catalogue.options import options
from lorakit.machine import Machine
from lorakit.plan import argv
from lorakit.plan.complete import completed
from lorakit.plan.make import make_plan
from lorakit.recipe.options import Options
from lorakit.weights.reference import WeightFile

SCRIPT = Path("/sd/train_network.py")


def command(
    root: Path, machine: Machine = CUDA, train: dict[str, Any] | None = None, **launch: Any
) -> list[str]:
    resolved = completed(Options(recipe(root, train, launch=launch)), root / "run", ())
    found = argv.launch_of(resolved, root / "run", machine)
    (only,) = argv.commands_for(
        resolved, found, python=Path("/venv/bin/python"), script=SCRIPT, run_dir=root / "run"
    )
    return list(only.argv)


def env(
    root: Path,
    machine: Machine = CUDA,
    train: dict[str, Any] | None = None,
    *,
    present: bool = True,
    **launch: Any,
) -> dict[str, str]:
    resolved = completed(Options(recipe(root, train, launch=launch)), root / "run", ())
    weights = (WeightFile("pretrained_model_name_or_path", "x", root / "x", present=present),)
    found = argv.launch_of(resolved, root / "run", machine)
    return dict(argv.environment(resolved, found, weights, root / "run", {}))


def test_one_process_of_the_embedded_trainer_is_started_without_the_launcher(
    tmp_path: Path,
) -> None:
    """The launcher's own start takes seconds; what it would say is in the environment."""
    found = make_plan(
        recipe(tmp_path, trainer="embedded", launch={"gpu_ids": [1], "num_cpu_threads": 3}),
        run_dir=tmp_path / "run",
        machine=CUDA,
    )
    _, script, *rest = found.commands[-1].argv
    assert script.endswith("lorakit/embedded/train_network.py")
    assert rest[0] == "--config_file"
    assert "accelerate.yaml" not in found.files
    assert (found.env["OMP_NUM_THREADS"], found.env["CUDA_VISIBLE_DEVICES"]) == ("3", "1")
    several = make_plan(
        recipe(tmp_path, trainer="embedded", launch={"processes": 2}),
        run_dir=tmp_path / "run",
        machine=CUDA,
    )
    assert several.commands[-1].argv[2] == "accelerate.commands.launch"
    assert "accelerate.yaml" in several.files
    assert "OMP_NUM_THREADS" not in several.env


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_the_whole_command_on_one_card(tmp_path: Path) -> None:
    run = (tmp_path / "run").as_posix()
    assert command(tmp_path, train={"mixed_precision": "bf16"}) == [
        "/venv/bin/python",
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        f"{run}/accelerate.yaml",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "bf16",
        "--dynamo_backend",
        "no",
        "--num_cpu_threads_per_process",
        "4",
        "/sd/train_network.py",
        "--config_file",
        f"{run}/train.toml",
    ]


def test_our_configuration_stands_before_the_script_and_the_scripts_own_after_it(
    tmp_path: Path,
) -> None:
    words = command(tmp_path)
    first, second = (place for place, word in enumerate(words) if word == "--config_file")
    assert first < words.index(str(SCRIPT)) < second


def test_on_the_cpu_accelerate_is_told_so(tmp_path: Path) -> None:
    words = command(tmp_path, PLAIN)
    assert "--cpu" in words
    assert after(words, "--num_cpu_threads_per_process") == "4"
    assert env(tmp_path, PLAIN)["ACCELERATE_USE_CPU"] == "true"


def test_several_processes_go_through_torchrun(tmp_path: Path) -> None:
    words = command(tmp_path, processes=2, gpu_ids=[0, 1])
    assert "--multi_gpu" in words
    assert after(words, "--num_processes") == "2"
    assert after(words, "--gpu_ids") == "0,1"


def test_several_processes_on_the_cpu_do_not_say_cpu_which_would_start_only_one(
    tmp_path: Path,
) -> None:
    words = command(tmp_path, PLAIN, processes=2)
    assert "--multi_gpu" in words
    assert "--cpu" not in words
    assert after(words, "--num_cpu_threads_per_process") == "2"


@pytest.mark.parametrize(
    ("processes", "machines", "kind"),
    [(1, 1, "NO"), (2, 1, "MULTI_GPU"), (2, 2, "MULTI_GPU"), (1, 2, "MULTI_GPU")],
)
def test_our_configuration_says_how_many_processes_and_machines(
    tmp_path: Path, processes: int, machines: int, kind: str
) -> None:
    counts = {"processes": processes, "machines": machines}
    resolved = Options(recipe(tmp_path, launch=counts))
    text = argv.launcher_file(resolved, argv.launch_of(resolved, tmp_path / "run", CUDA))
    assert f"distributed_type: '{kind}'" in text["accelerate.yaml"]
    said = f"num_machines: {machines}\nnum_processes: {processes}\n"
    assert said in text["accelerate.yaml"]
    assert "use_cpu: false" in text["accelerate.yaml"]


def test_several_machines_name_their_rank_and_where_the_first_is(tmp_path: Path) -> None:
    words = command(
        tmp_path, processes=4, machines=2, machine_rank=1, main_address="10.0.0.1", main_port=29501
    )
    assert [
        after(words, flag)
        for flag in ("--num_machines", "--machine_rank", "--main_process_ip", "--main_process_port")
    ] == ["2", "1", "10.0.0.1", "29501"]


def test_a_given_accelerate_configuration_has_its_own_say(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "num_processes: 4  # all\nnum_machines: 2\nmachine_rank: 1\ndistributed_type: FSDP\n",
        encoding="utf-8",
    )
    resolved = Options(recipe(tmp_path, launch={"accelerate_config": "mine.yaml"}))
    found = argv.launch_of(resolved, tmp_path / "run", CUDA)
    assert (found.processes, found.machines, found.rank) == (4, 2, 1)
    words = command(tmp_path, accelerate_config="mine.yaml")
    assert after(words, "--config_file") == (tmp_path / "mine.yaml").as_posix()
    assert "--num_processes" not in words
    assert "--mixed_precision" not in words


def test_an_accelerate_configuration_that_counts_machines_is_counted_in_the_plan(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "num_processes: 4\nnum_machines: 2\nmachine_rank: 1\n", encoding="utf-8"
    )
    made = make_plan(
        recipe(tmp_path, launch={"accelerate_config": "mine.yaml"}),
        run_dir=tmp_path / "run",
        machine=CUDA,
    )
    assert {
        key: made.resolved.launch[key].value for key in ("processes", "machines", "machine_rank")
    } == {"processes": 4, "machines": 2, "machine_rank": 1}


def test_the_environment_is_unbuffered_utf8_and_tells_events_apart(tmp_path: Path) -> None:
    found = env(tmp_path)
    assert (found["PYTHONUNBUFFERED"], found["PYTHONUTF8"], found["TOKENIZERS_PARALLELISM"]) == (
        "1",
        "1",
        "false",
    )
    assert found["LORAKIT_EVENTS"] == (tmp_path / "run/events.jsonl").as_posix()
    assert "PYTORCH_ENABLE_MPS_FALLBACK" not in found


def test_a_mac_falls_back_to_the_cpu_for_what_it_cannot_do(tmp_path: Path) -> None:
    assert env(tmp_path, MAC)["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"


def test_the_hub_is_left_alone_only_when_nothing_is_needed_from_it(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in env(tmp_path)  # no tokenizer folder yet
    (tmp_path / "tokenizers/openai_clip-vit-large-patch14").mkdir(parents=True)
    assert env(tmp_path)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in env(tmp_path, present=False)
    assert "HF_HUB_OFFLINE" not in env(tmp_path, train={"log_with": "wandb"})


def test_a_filled_hub_cache_counts_as_tokenizers(tmp_path: Path, own_home: Path) -> None:
    (own_home / ".cache/huggingface/hub/models--openai--clip-vit-large-patch14/snapshots").mkdir(
        parents=True
    )
    assert env(tmp_path)["HF_HUB_OFFLINE"] == "1"


def test_the_recipes_own_environment_wins(tmp_path: Path) -> None:
    assert env(tmp_path, env={"PYTHONUTF8": "0", "MY_FLAG": 3}) | {} == {
        **env(tmp_path),
        "PYTHONUTF8": "0",
        "MY_FLAG": "3",
    }


def test_the_recipes_python_wins(tmp_path: Path) -> None:
    assert (
        argv.python_of(
            Options(recipe(tmp_path, launch={"python": "venv/bin/python"})), Path("/other")
        )
        == tmp_path / "venv/bin/python"
    )
    assert argv.python_of(Options(recipe(tmp_path)), Path("/other")) == Path("/other")


def test_deepspeed_is_refused_for_the_trainer_that_has_none(tmp_path: Path) -> None:
    resolved = completed(
        Options(recipe(tmp_path, trainer="embedded", launch={"deepspeed": True, "processes": 2})),
        tmp_path / "run",
        (),
    )
    found = argv.launch_faults(resolved, argv.launch_of(resolved, tmp_path / "run", CUDA))
    assert [fault.rule for fault in found] == ["deepspeed-embedded"]


@pytest.mark.parametrize(
    ("launch", "rule"),
    [
        ({"processes": 2, "machines": 2}, "machines-need-address"),
        ({"processes": 3, "machines": 2, "main_address": "a", "main_port": 1}, "uneven-processes"),
        ({"machine_rank": 1}, "machine-rank"),
        ({"accelerate_config": "nowhere.yaml"}, "accelerate-config"),
        ({"deepspeed": True}, "deepspeed-alone"),
    ],
)
def test_launches_that_cannot_work_are_refused(
    tmp_path: Path, launch: dict[str, Any], rule: str
) -> None:
    resolved = completed(Options(recipe(tmp_path, launch=launch)), tmp_path / "run", ())
    faults = argv.launch_faults(resolved, argv.launch_of(resolved, tmp_path / "run", CUDA))
    assert [fault.rule for fault in faults] == [rule]


def test_what_the_recipe_says_wins_over_a_given_accelerate_configuration_word_by_word(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 4\nnum_machines: 2\n", encoding="utf-8")
    words = command(tmp_path, accelerate_config="mine.yaml", machines=1)
    assert after(words, "--num_machines") == "1"
    assert not {"--num_processes", "--multi_gpu", "--cpu"} & set(words)
    assert "--num_machines" not in command(tmp_path, accelerate_config="mine.yaml", processes=2)


def test_one_process_on_each_of_two_machines_goes_through_torchrun_too(tmp_path: Path) -> None:
    words = command(tmp_path, PLAIN, processes=1, machines=2, main_address="a", main_port=1)
    assert "--multi_gpu" in words
    assert "--multi_gpu" not in command(tmp_path, PLAIN, processes=1)


def test_beside_a_card_a_process_has_four_threads_at_most_and_one_at_least(tmp_path: Path) -> None:
    assert [
        after(command(tmp_path, replace(CUDA, cpu_count=count)), "--num_cpu_threads_per_process")
        for count in (1, 3, 64)
    ] == ["1", "3", "4"]
    assert (
        after(command(tmp_path, replace(PLAIN, cpu_count=64)), "--num_cpu_threads_per_process")
        == "64"
    )
    assert after(command(tmp_path, num_cpu_threads=7), "--num_cpu_threads_per_process") == "7"


@pytest.mark.parametrize("option", argv.ONLINE_OPTIONS)
def test_what_goes_to_the_hub_keeps_the_line_open(tmp_path: Path, option: str) -> None:
    (tmp_path / "tokenizers/openai_clip-vit-large-patch14").mkdir(parents=True)
    assert option in options("kohya", "train_network.py")
    assert "HF_HUB_OFFLINE" not in env(tmp_path, train={option: "me/it"})


@pytest.mark.parametrize(("variable", "place"), [("HF_HUB_CACHE", "."), ("HF_HOME", "hub")])
def test_the_hubs_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    assert "HF_HUB_OFFLINE" not in env(tmp_path)
    (tmp_path / "cache" / place / "models--openai--clip-vit-large-patch14" / "snapshots").mkdir(
        parents=True
    )
    assert env(tmp_path)["HF_HUB_OFFLINE"] == "1"
