from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toml
from plan_cases import folder, sd15_base

from lorakit.cli.main import main

RECIPE = """
family = "sd15"
name = "maya"
trigger = "maya_char"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "data"
[train]
network_dim = 8
network_alpha = 4
learning_rate = 1e-4
resolution = "512,512"
enable_bucket = true
max_train_epochs = 2
save_every_n_epochs = 1
network_train_unet_only = true
optimizer_type = "AdamW"
lr_scheduler = "cosine"
sdpa = true
[sample]
every_n_epochs = 1
prompts = ["{trigger}, portrait"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512), (640, 480), (480, 640)])
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "maya.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def lorakit(*words: str | Path) -> int:
    return main(["plan", *map(str, words)])


def test_everything_a_person_wants_to_check_is_on_one_page(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lorakit("-v", project / "recipes/maya.toml") == 0
    page = capsys.readouterr().out
    assert "network_dim" in page
    assert "recipes/maya.toml:11" in page
    assert "10_maya_char       3       10       30         3" in page
    assert "10 x 3 = 30 samples, / 1 = 30 batches, x 2 epochs = 60 steps" in page
    assert "maya-000001.safetensors" in page
    assert "512 x 512" in page
    assert "after steps 30, 60" in page
    command = page.strip().splitlines()[-1]
    words = shlex.split(command)
    assert "PYTHONUTF8=1" in words
    assert words[-2:] == ["--config_file", words[-1]]


def test_the_command_is_quoted_for_a_shell(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lorakit("-v", project / "recipes/maya.toml", "--write", tmp_path / "a run of mine") == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert str(tmp_path / "a run of mine" / "train.toml") in shlex.split(last)


def test_json_is_one_document_with_the_same_numbers(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lorakit(project / "recipes/maya.toml", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lorakit.plan/1"
    assert document["steps"]["total"] == 60
    assert document["settings"]["network_dim"] == {"value": 8, "source": "recipes/maya.toml:11"}
    assert document["subsets"] == [
        {
            "folder": "10_maya_char",
            "images": 3,
            "repeats": 10,
            "draws": 30,
            "captions": 3,
            "kind": "",
        }
    ]
    assert [one["name"] for one in document["steps"]["checkpoints"]] == [
        "maya-000001.safetensors",
        "maya.safetensors",
    ]
    assert toml.loads(document["files"]["train.toml"])["network_dim"] == 8


def test_two_intervals_of_samples_are_told_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "sample.every_n_epochs=1", "--set", "sample.every_n_steps=10"]
    assert lorakit(project / "recipes/maya.toml", *sets) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("warning") and "every_n_steps" in line]
    assert len(told) == 1
    assert "is overridden by every_n_epochs" in told[0]


def test_write_leaves_the_runs_files_and_nothing_else(project: Path, tmp_path: Path) -> None:
    assert lorakit(project / "recipes/maya.toml", "--write", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train.toml",
        "dataset.toml",
        "prompts.toml",
        "accelerate.yaml",
        "command.txt",
    }


def test_errors_end_with_1_and_write_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        lorakit(
            project / "recipes/maya.toml",
            "--set",
            "max_train_epochs=0",
            "--set",
            "full_bf16=true",
            "--write",
            tmp_path / "out",
        )
        == 1
    )
    told = capsys.readouterr().err
    assert "max_train_epochs" in told
    assert "full_bf16" in told
    assert "nothing was started" in told
    assert not (tmp_path / "out").exists()


def test_json_has_the_errors_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorakit(project / "recipes/maya.toml", "--set", "max_train_epochs=0", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert "error" in {fault["severity"] for fault in document["faults"]}


def test_folders_prints_the_folder_mode(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorakit("-v", project / "recipes/maya.toml", "--folders") == 0
    assert "train_data_dir" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "present"),
    [
        ("cuda:24", "--num_cpu_threads_per_process"),
        ("cpu", "--cpu"),
        ("mps", "PYTORCH_ENABLE_MPS_FALLBACK=1"),
    ],
)
def test_a_plan_can_be_made_for_another_machine(
    project: Path, capsys: pytest.CaptureFixture[str], device: str, present: str
) -> None:
    assert lorakit("-v", project / "recipes/maya.toml", "--for", device) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1]
    assert present in command
    assert ("--cpu" in command) == (device == "cpu")


def test_a_card_too_small_is_told_and_an_unknown_device_is_usage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lorakit(project / "recipes/maya.toml", "--for", "cuda:2") == 0
    assert "a CUDA card with 2 GB" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        lorakit(project / "recipes/maya.toml", "--for", "tpu")
    assert stopped.value.code == 2


def calls(project: Path) -> int:
    """Function calls of one plan in a process of its own: the same whatever else the machine does."""
    code = (
        "import cProfile, pstats, sys; from lorakit.cli.main import main; watch = cProfile.Profile(); "
        "assert watch.runcall(main, ['plan', sys.argv[1]]) == 0; "
        "print(pstats.Stats(watch).total_calls, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project / "recipes/maya.toml")],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stderr.split()[-1])


def test_planning_imports_no_trainer_and_no_picture_library(project: Path) -> None:
    code = (
        "import sys; from lorakit.cli.main import main; code = main(['plan', sys.argv[1]]); "
        "heavy = {'torch', 'accelerate', 'diffusers', 'transformers', 'PIL', 'numpy', 'rich', 'safetensors'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(project / "recipes/maya.toml")],
        check=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_a_plan_costs_few_function_calls_and_each_picture_hardly_more(project: Path) -> None:
    few = calls(project)
    assert few < 190_000  # 167,000 today; `make bench` has the seconds
    folder(
        project / "data" / "10_maya_char",
        [(512 + 8 * (number % 97), 768 + number % 13) for number in range(100)],
    )
    assert (calls(project) - few) / 97 < 400  # 313 today, each picture in a bucket of its own


def test_write_leaves_a_file_of_somebody_elses_as_it_is(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        lorakit(project / "recipes/maya.toml", "--write", out)
        == lorakit(project / "recipes/maya.toml", "--write", out)
        == 0
    )
    (out / "dataset.toml").write_text("mine", encoding="utf-8")
    (out / "command.txt").unlink()
    assert lorakit(project / "recipes/maya.toml", "--write", out) == 1
    assert f"{out / 'dataset.toml'}: is there already" in capsys.readouterr().err
    assert (out / "dataset.toml").read_text(encoding="utf-8") == "mine"
    assert not (out / "command.txt").exists()


@pytest.mark.parametrize("device", ["cuda:0", "cuda:8x0", "cuda:24x", "gpu"])
def test_a_machine_without_cards_is_called_cpu(project: Path, device: str) -> None:
    with pytest.raises(SystemExit):
        lorakit(project / "recipes/maya.toml", "--for", device)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    ("place", "sets"),
    [
        ("pipe.safetensors", "model.base=pipe.safetensors"),
        ("pipe.ckpt", "model.base=pipe.ckpt"),
        ("pipe.safetensors", "model.vae=pipe.safetensors"),
        ("pipe.safetensors", "model.network_weights=pipe.safetensors"),
        ("model/model_index.json", "model.base=model"),
        ("pipe.yaml", "launch.accelerate_config=pipe.yaml"),
    ],
)
def test_a_named_pipe_holds_no_plan_up(
    project: Path, place: str, sets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / place).parent.mkdir(exist_ok=True)
    os.mkfifo(project / place)
    allowed = [f"--set={sets}", "--set=model.allow_pickle=true"]
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for the pipe"))
    signal.alarm(30)
    try:
        code = lorakit(project / "recipes/maya.toml", *allowed)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = capsys.readouterr().err
    assert code == 1, said
    assert place.partition("/")[0] in said


def test_the_page_shows_what_differs_from_the_preset_and_the_few_that_matter(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = project / "recipes/maya.toml"
    text = 'preset = "sd15"\n' + RECIPE[RECIPE.index("name =") : RECIPE.index("[train]")]
    recipe.write_text(
        text + '[train]\nflip_aug = true\noptimizer_type = "AdamW"\n', encoding="utf-8"
    )
    assert lorakit(recipe, "--set", "min_snr_gamma=4") == 0
    short = capsys.readouterr().out
    settings = [line.split()[0] for line in short.split("\n\n")[1].splitlines()[1:-1]]
    assert {"flip_aug", "min_snr_gamma", "pretrained_model_name_or_path"} <= set(settings)
    assert {"learning_rate", "network_dim", "train_batch_size", "resolution"} <= set(settings)
    assert not {"lr_scheduler", "save_precision", "seed", "output_dir"} & set(settings)
    assert "more come with the preset or follow: lorakit plan recipes/maya.toml -v" in short
    assert "accelerate.commands.launch" not in short
    lorakit(recipe, "--set", "min_snr_gamma=4", "--verbose")
    everything = capsys.readouterr().out
    assert "lr_scheduler" in everything
    assert "accelerate.commands.launch" in everything


def test_on_a_terminal_no_line_is_longer_than_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "90")
    assert lorakit(project / "recipes/maya.toml") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("run  ")) <= 90
