"""Each command ends with the next one, and what is there decides which: from `new` to `deploy` with nothing but the printed lines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import drawing

from lorakit.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from walk import PAGE, WAYS, commands_of, make_project, neutral, next_of, photos, walk

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


@pytest.mark.slow
def test_a_bare_folder_finds_its_recipe_again(project: Path, said: Run) -> None:
    said("new", "maya", "--preset", "sdxl", "--trigger", "maya_char")
    said("dataset", "add", "datasets/maya", str(photos(project / "in")), "--trigger", "maya_char")
    said("dataset", "prepare", "datasets/maya")
    said("dataset", "caption", "datasets/maya", "--trigger-first", "--write")
    assert said("dataset", "check", "datasets/maya") == "lorakit dataset review datasets/maya"
    (project / "datasets" / "maya" / ".lorakit" / "review.json").write_text("{}")
    assert said("dataset", "check", "datasets/maya") == "lorakit plan recipes/maya.toml"


@pytest.mark.slow
def test_what_only_looks_or_arranges_leads_on_too(project: Path, said: Run) -> None:
    said("new", "maya", "--preset", "sdxl", "--trigger", "maya_char")
    said("dataset", "add", "datasets/maya", str(photos(project / "in")), "--trigger", "maya_char")
    said("dataset", "prepare", "datasets/maya", "--size", "64")
    recipe = "recipes/maya.toml"
    caption = f"lorakit dataset caption {recipe} --trigger-first --write"
    assert said("dataset", "layout", recipe) == caption
    assert said("dataset", "stats", recipe) == caption
    select = "lorakit dataset select datasets/maya --per-category 4"
    assert said("dataset", "rank", "datasets/maya") == select
    assert said(*shlex.split(select)[1:]).endswith("/maya-selected")
    unpack = "lorakit dataset bundle verify maya.zip --unpack datasets/maya"
    assert said("dataset", "bundle", recipe) == unpack
    assert said("dataset", "bundle", "verify", "maya.zip") == unpack
    words = ("dataset", "bundle", "verify", "maya.zip", "--unpack", "there")
    assert said(*words) == "lorakit dataset check there"


def test_a_check_that_finds_errors_leads_to_where_they_are_mended(project: Path, said: Run) -> None:
    folder = project / "datasets" / "maya" / "10_maya"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"no picture")
    drawing((64, 64), 1).save(folder / "b.png")
    assert said("dataset", "check", "datasets/maya", code=1) == (
        "lorakit dataset review datasets/maya"
    )


WAY = [
    *("new", "dataset add", "dataset prepare", "dataset caption", "dataset review"),
    *("dataset check", "plan", "train", "sheet", "note", "deploy"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "trainer"), list(enumerate(WAYS)))
def test_the_printed_commands_lead_from_new_to_deploy_as_the_page_about_it_says(
    project: Path, number: int, trainer: str
) -> None:
    loras = project / "loras"
    make_project(loras, trainer)
    walked = list(walk(loras))
    assert [one.name for one in walked] == WAY
    told = commands_of(PAGE.read_text(encoding="utf-8"))[number]
    assert [neutral(one.command, loras) for one in walked] == told, "python tools/walk.py"


@pytest.fixture
def with_toy_base(project: Path) -> Path:
    make_project(project, "embedded")
    return project


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
