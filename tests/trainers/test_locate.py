"""Where sd-scripts is looked for, and what is said when it is nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lorakit.catalogue.checkout import head_commit
from lorakit.errors import SetupError
from lorakit.trainers.kohya.locate import PIN, locate, require
from lorakit.trainers.kohya.trainer import Kohya


@pytest.fixture(autouse=True)
def no_vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    vendor = tmp_path / "vendor"
    monkeypatch.setattr("lorakit.catalogue.checkout.VENDOR", vendor)
    return vendor


def checkout(place: Path, commit: str = PIN) -> Path:
    (place / ".git").mkdir(parents=True)
    (place / "train_network.py").touch()
    (place / ".git" / "HEAD").write_text(commit + "\n", encoding="utf-8")
    return place


def python(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    link = place / "python"
    link.symlink_to(sys.executable)
    return link


def test_environment_wins_over_config_and_config_over_vendor(
    tmp_path: Path, no_vendor: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(no_vendor / "sd-scripts")
    python(no_vendor / ".venv" / "bin")
    assert locate() is None, "half built"
    with pytest.raises(SetupError, match="has not finished"):
        require()
    (no_vendor / ".venv" / ".ready").touch()
    vendored = locate()
    assert vendored is not None
    assert (vendored.directory, vendored.pinned, vendored.faults()) == (
        no_vendor / "sd-scripts",
        True,
        [],
    )

    file = own_home / ".config" / "lorakit" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f'sd_scripts = "{checkout(tmp_path / "mine")}"\nsd_scripts_python = "{python(tmp_path / "v")}"\n',
        encoding="utf-8",
    )
    mine = locate()
    assert mine is not None
    assert (mine.directory, mine.python) == (tmp_path / "mine", tmp_path / "v" / "python")

    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(checkout(tmp_path / "theirs", "f" * 40)))
    theirs = locate()
    assert theirs is not None
    assert (theirs.directory, theirs.commit, theirs.pinned) == (
        tmp_path / "theirs",
        "f" * 40,
        False,
    )
    assert [fault.severity for fault in theirs.faults()] == ["warning"]


def test_nothing_set_up_is_one_message_with_the_ways_out() -> None:
    assert locate() is None
    with pytest.raises(SetupError) as caught:
        require()
    for way in ("make vendor", "LORAKIT_SD_SCRIPTS=", "sd_scripts_python", 'trainer = "embedded"'):
        assert way in str(caught.value)


def test_a_named_place_that_is_no_checkout_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path))
    with pytest.raises(SetupError, match=r"LORAKIT_SD_SCRIPTS names .* no train_network\.py"):
        locate()


def test_a_checkout_without_its_python_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(checkout(tmp_path / "mine")))
    with pytest.raises(SetupError, match="nothing names its Python"):
        locate()
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", str(tmp_path / "no-python"))
    with pytest.raises(SetupError, match="cannot be run"):
        locate()


def test_a_venv_python_stays_the_link_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(checkout(tmp_path / "mine")))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", str(python(tmp_path / "bin")))
    assert require().python == tmp_path / "bin" / "python"


def git(*words: str, cwd: Path) -> str:
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    return subprocess.run(
        ["git", *words], cwd=cwd, check=True, capture_output=True, text=True, env=env
    ).stdout.strip()


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_commit_is_read_from_branches_packed_refs_detached_heads_and_worktrees(
    tmp_path: Path,
) -> None:
    main = tmp_path / "main"
    main.mkdir()
    git("init", "-q", "-b", "work/main", cwd=main)
    git("commit", "-q", "--allow-empty", "-m", "one", cwd=main)
    commit = git("rev-parse", "HEAD", cwd=main)
    assert head_commit(main) == commit
    git("pack-refs", "--all", cwd=main)
    assert head_commit(main) == commit
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"), cwd=main)
    assert head_commit(tmp_path / "tree") == commit
    git("checkout", "-q", "--detach", cwd=main)
    assert head_commit(main) == commit
    assert head_commit(tmp_path) is None


@pytest.mark.parametrize(
    ("there", "told"), [("0.32.1", False), ("0.32.9", False), ("0.25.0", True), ("1.32.1", True)]
)
def test_a_version_that_the_scripts_were_not_written_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, told: bool
) -> None:
    place = checkout(tmp_path / "sd")
    (place / "requirements.txt").write_text(
        "# comment==1\naccelerate==1.6.0\ndiffusers[torch]==0.32.1\nnumpy\n", encoding="utf-8"
    )
    (tmp_path / f"venv/lib/python3.11/site-packages/diffusers-{there}.dist-info").mkdir(
        parents=True
    )
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(place))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", str(python(tmp_path / "venv/bin")))
    faults = Kohya().find("sd15").faults
    assert [one.rule for one in faults] == (["version-diffusers"] if told else [])
    if told:
        assert f"diffusers {there} is installed; these scripts were written for 0.32.1." in str(
            faults[0]
        )
        assert faults[0].hint.endswith("-m pip install diffusers==0.32.1")
