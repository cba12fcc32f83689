"""`plan --diff`, the commit hook and the pull request's comment, in a real git repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plan_cases import folder, sd15_base

from lorakit.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PRESET = '[about]\ntitle = "ours"\nfamily = "sd15"\n[train]\nnetwork_dim = 8\nnetwork_alpha = 4\n'
RECIPE = """\
preset = "ours"
name = "maya"
trigger = "maya_char"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "data"
[train]
learning_rate = 1e-4
resolution = "512,512"
enable_bucket = true
max_train_epochs = 2
network_train_unet_only = true
optimizer_type = "AdamW"
sdpa = true
"""


def git(*words: str) -> None:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *names, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over a preset of the project, both committed; the pictures are not in git."""
    monkeypatch.chdir(tmp_path)
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512), (640, 480)])
    for name, text in (("recipes/maya.toml", RECIPE), ("presets/ours.toml", PRESET)):
        Path(name).parent.mkdir()
        Path(name).write_text(text)
    git("init", "-q", "-b", "main")
    git("add", "recipes", "presets")
    git("commit", "-qm", "one")
    return tmp_path


def change(name: str, old: str, new: str) -> None:
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))


def test_settings_and_steps_that_change_are_told(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change("recipes/maya.toml", "max_train_epochs = 2", "max_train_epochs = 3")
    assert main(["plan", "maya", "--diff", "HEAD"]) == 0
    said = capsys.readouterr()
    assert "train.max_train_epochs: 2 -> 3" in said.out
    assert re.search(r"steps:(\n .*)*\n  total: 40 -> 60", said.out)
    assert "learning_rate" not in said.out and "Next: lorakit train maya" in said.err


def test_a_preset_that_changes_below_the_recipe_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change("presets/ours.toml", "network_dim = 8", "network_dim = 16")
    main(["plan", "maya", "--diff", "main", "--json"])
    found = json.loads(capsys.readouterr().out)
    rows = {row["key"]: (row["before"], row["after"]) for row in found["changes"]["settings"]}
    assert rows == {"train.network_dim": (8, 16)}
    assert {row["key"] for row in found["changes"]["cost"]} >= {"LoRA"}


def test_nothing_new_is_said_so_and_a_new_recipe_too(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "maya", "--diff", "HEAD"]) == 0
    assert "The plan is as in HEAD." in capsys.readouterr().err
    Path("recipes/finn.toml").write_text(RECIPE.replace('"maya"', '"finn"'))
    assert main(["plan", "finn", "--diff", "HEAD"]) == 0
    assert "everything is new" in capsys.readouterr().err


def test_pictures_are_compared_by_the_locks(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lock", "maya"])
    git("add", "recipes")
    git("commit", "-qm", "lock")
    (repository / "data/10_maya_char/000.txt").write_text("maya_char, another caption")
    main(["lock", "maya"])
    capsys.readouterr()
    main(["plan", "maya", "--diff", "HEAD", "--json"])
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [row["key"] for row in changes.get("pictures", [])] == []  # the picture is the same
    (repository / "data/10_maya_char/000.png").write_bytes(
        (repository / "data/10_maya_char/001.png").read_bytes()
    )
    main(["lock", "maya"])
    capsys.readouterr()
    main(["plan", "maya", "--diff", "HEAD", "--json"])
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [row["key"] for row in changes["pictures"]] == ["10_maya_char/000.png"]


@pytest.mark.parametrize("rev", ["mian", "--output=x", "HEAD~9"])
def test_a_commit_that_is_not_there_is_said(
    rev: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "maya", f"--diff={rev}"]) == 1
    err = capsys.readouterr().err
    assert "git knows no commit" in err and ("Did you mean main?" in err) == (rev == "mian")


def test_outside_a_repository_it_is_said(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["rm", "-rf", ".git"], check=True)
    assert main(["plan", "maya", "--diff", "HEAD"]) == 1
    assert "no git repository" in capsys.readouterr().err


def test_the_hook_takes_several_files_and_misses_nothing_of_this_machine(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["rm", "-rf", "data", "base.safetensors"], check=True)
    Path("recipes/finn.toml").write_text(RECIPE.replace("sdpa", "sdap"))
    assert main(["plan", "--review", "recipes/maya.toml"]) == 0
    assert main(["plan", "--review", "recipes/maya.toml", "recipes/finn.toml"]) == 1
    assert "Did you mean sdpa?" in capsys.readouterr().err


def test_the_hook_sees_a_lock_that_is_older_than_its_recipe(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lock", "maya"])
    assert main(["plan", "--review", "recipes/maya.lock.toml"]) == 0
    change("recipes/maya.toml", "learning_rate = 1e-4", "learning_rate = 2e-4")
    assert main(["plan", "--review", "recipes/maya.toml", "recipes/maya.lock.toml"]) == 1
    err = capsys.readouterr().err
    assert "is not of this recipe any more: learning_rate: 0.0001 -> 0.0002" in err
    assert "1 problem" in err


def test_the_hooks_entry_is_a_command_of_ours() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entry = re.search(r"^  entry: lorakit (.*)$", text, re.MULTILINE)
    files = re.search(r"^  files: (.*)$", text, re.MULTILINE)
    assert entry and files
    assert entry[1] == "plan --review"
    for name in ("recipes/maya.toml", "recipes/maya.lock.toml", "sweeps/rank/rank-01.toml"):
        assert re.search(files[1], name)
    assert not re.search(files[1], "pyproject.toml")


@pytest.mark.slow
def test_the_comment_says_what_changes_what_is_new_and_what_cannot_start(
    repository: Path, tmp_path: Path
) -> None:
    Path("recipes/same.toml").write_text(RECIPE.replace('"maya"', '"same"'))
    git("add", "recipes")
    git("commit", "-qm", "two")
    change("recipes/maya.toml", "max_train_epochs = 2", "max_train_epochs = 3")
    Path("recipes/broken.toml").write_text("preset = ")
    Path("recipes/finn.toml").write_text(RECIPE.replace("sdpa", "sdap"))
    words = [str(ROOT / "tools" / "plan_comment.py"), "--base", "HEAD", "--out", "c.md"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    text = Path("c.md").read_text()
    assert text.startswith("<!-- lorakit plan -->\n## Plans, against HEAD\n")
    assert "| settings | `train.max_train_epochs` | `2` | `3` |" in text
    assert "| steps | `total` | `40` | `60` |" in text
    assert "**cannot start**" in text and "Did you mean sdpa?" in text
    assert "### recipes/broken.toml\n\n```\n" in text and "is not valid TOML" in text
    assert "### recipes/same.toml" not in text and "1 of 4 recipes are planned as before" in text


def test_the_action_names_a_script_that_is_there_and_inputs_it_declares() -> None:
    text = (ROOT / "action.yml").read_text()
    assert "tools/plan_comment.py" in text and (ROOT / "tools" / "plan_comment.py").is_file()
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    declared = set(re.findall(r"^  ([\w-]+):\n    description", text, re.MULTILINE)) - {"comment"}
    assert used == declared
