"""Each command ends with the next one, and what is there decides which: from `new` to `deploy` with nothing but the printed lines."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import drawing

from lorakit.cli.main import main

ROOT = Path(__file__).parents[2]
NEXT = re.compile(r"^Next: (lorakit .*)$", re.MULTILINE)
Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its next one, without remarks."""

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(words)) == code
        return next_of(capsys.readouterr().err)

    return run


def next_of(text: str) -> str:
    found = NEXT.findall(text)
    assert len(found) <= 1, text
    return shlex.join(shlex.split(found[0], comments=True)) if found else ""


def photos(place: Path, count: int = 4) -> Path:
    place.mkdir()
    for number in range(count):
        drawing((640, 480), number).save(place / f"p{number}.jpg")
    return place


def test_the_state_of_the_dataset_decides_what_is_next(project: Path, said: Run) -> None:
    recipe = "recipes/maya.toml"
    new = said("new", "maya", "--preset", "sd15-mps", "--trigger", "maya_char")
    assert new == f"lorakit dataset add {recipe} PHOTOS --repeats 30"
    add = said("dataset", "add", recipe, str(photos(project / "in")), "--repeats", "30")
    assert add == f"lorakit dataset prepare {recipe} --fit bucket"
    prepare = said("dataset", "prepare", recipe, "--fit", "letterbox", "--size", "64")
    assert prepare == f"lorakit dataset caption {recipe} --trigger-first --write"
    assert said("dataset", "caption", recipe, "--trigger-first") == ""  # nothing was written
    caption = said("dataset", "caption", recipe, "--trigger-first", "--write")
    assert caption == f"lorakit dataset review {recipe}"
    (project / "datasets" / "maya" / ".lorakit" / "review.json").write_text("{}")
    prepared = said("dataset", "prepare", recipe, "--fit", "letterbox", "--size", "64")
    assert prepared == f"lorakit dataset check {recipe}"
    checked = said("dataset", "check", recipe, "--off", "caption-same")
    assert checked == f"lorakit plan {recipe}"


def test_a_dataset_with_captions_goes_straight_to_the_review(project: Path, said: Run) -> None:
    said("new", "maya", "--preset", "sdxl", "--trigger", "maya_char")
    folder = photos(project / "in")
    for file in list(folder.glob("*.jpg")):
        file.with_suffix(".txt").write_text(f"maya_char, {file.stem}")
    said("dataset", "add", "recipes/maya.toml", str(folder))
    assert said("dataset", "prepare", "recipes/maya.toml") == (
        "lorakit dataset review recipes/maya.toml"
    )


def test_a_bare_folder_finds_its_recipe_again(project: Path, said: Run) -> None:
    said("new", "maya", "--preset", "sdxl", "--trigger", "maya_char")
    said("dataset", "add", "datasets/maya", str(photos(project / "in")), "--trigger", "maya_char")
    said("dataset", "prepare", "datasets/maya")
    said("dataset", "caption", "datasets/maya", "--trigger-first", "--write")
    assert said("dataset", "check", "datasets/maya") == "lorakit dataset review datasets/maya"
    (project / "datasets" / "maya" / ".lorakit" / "review.json").write_text("{}")
    assert said("dataset", "check", "datasets/maya") == "lorakit plan recipes/maya.toml"


RECIPE = """
family  = "sd15"
trainer = "embedded"
name    = "zed"
trigger = "zwx"
[model]
base = "recipes/demo/base"
[dataset]
path = "datasets/zed"
[train]
network_dim = 4
network_alpha = 4
learning_rate = 1e-3
resolution = "64"
enable_bucket = false
max_train_steps = 2
save_precision = "fp16"
mixed_precision = "no"
max_data_loader_n_workers = 0
cache_latents = true
train_batch_size = 2
seed = 42
[sample]
prompts = ["{trigger}, sea"]
every_n_steps = 2
width = 64
height = 64
steps = 2
[launch]
num_cpu_threads = 1
"""


def walk(project: Path, first: list[str]) -> list[str]:
    """Follow the printed commands from `first` until none is printed; the steps that were walked."""
    photos(project / "photos")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words, walked = first, list[str]()
    while words:
        child = subprocess.Popen(
            [sys.executable, "-m", "lorakit", *words],
            cwd=project,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if words[:2] == ["dataset", "review"]:
            assert child.stdout
            child.stdout.readline()  # the address: the page is up
            child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=300)
        assert child.returncode == 0, (words, out, err)
        walked.append(" ".join(words[: 2 if words[0] == "dataset" else 1]))
        assert len(walked) < 15, walked
        words = shlex.split(next_of(err).replace("PHOTOS", "photos"))[1:]
        if words[:2] == ["dataset", "review"]:
            words.append("--no-browser")
    return walked


WAY = [
    *("new", "dataset add", "dataset prepare", "dataset caption", "dataset review"),
    *("dataset check", "plan", "train", "sheet", "note", "deploy"),
]


@pytest.fixture
def with_toy_base(project: Path) -> Path:
    (project / "recipes").mkdir()
    (project / "recipes" / "zed.toml").write_text(RECIPE)
    shutil.copytree(ROOT / "recipes" / "demo", project / "recipes" / "demo")
    return project


@pytest.mark.slow
def test_the_printed_commands_lead_from_new_to_deploy_on_the_toy_base(with_toy_base: Path) -> None:
    assert walk(with_toy_base, ["new", "ada", "--like", "zed", "--trigger", "ada_char"]) == WAY


@pytest.mark.slow
def test_the_printed_commands_lead_from_new_to_deploy_with_kohya(
    with_toy_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(ROOT / "tests" / "fakes" / "sd_scripts"))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", sys.executable)
    recipe = with_toy_base / "recipes" / "zed.toml"
    recipe.write_text(recipe.read_text().replace('"embedded"', '"kohya"'))
    assert walk(with_toy_base, ["new", "ada", "--like", "zed", "--trigger", "ada_char"]) == WAY


def test_a_rehearsal_is_proposed_before_gigabytes_are_fetched(
    with_toy_base: Path, said: Run
) -> None:
    for folder in ("datasets/zed/2_zwx",):
        (with_toy_base / folder).mkdir(parents=True)
        drawing((64, 64), 1).save(with_toy_base / folder / "a.png")
        (with_toy_base / folder / "a.txt").write_text("zwx, sea")
    assert said("plan", "zed", "--set", "seed=7") == "lorakit train zed --set=seed=7"
    fetched = f"model.base=hf:someone/some/base.safetensors@{'0' * 40}"
    assert said("plan", "zed", "--set", fetched) == f"lorakit rehearse zed --set={fetched}"
