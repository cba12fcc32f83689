"""Whatever the machine is like, a person reads a sentence and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lorakit import config
from lorakit.cli.main import main
from lorakit.errors import SetupError
from lorakit.files import at_home

HOUSE = Path(__file__).parents[2]


def lorakit(command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`command` in a shell, with `lorakit` for the program."""
    own: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(HOUSE), **env}
    words = command.replace("lorakit", f"{sys.executable} -m lorakit", 1)
    return subprocess.run(
        ["bash", "-c", words],
        cwd=cwd,
        env=own,
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["new", "fox", "--preset", "sdxl", "--trigger", "fox_char", "--dir"],
        ["presets", "copy", "sdxl", "--to"],
    ],
)
def test_a_folder_that_cannot_be_written_is_the_machines_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*words, str(tmp_path / "file")]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "file") in told
    assert "mistake of its own" not in told


@pytest.mark.slow
def test_a_full_disk_behind_the_output_is_said(tmp_path: Path) -> None:
    done = lorakit("lorakit presets > /dev/full", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "No space left on device.")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = lorakit("cd gone && rmdir ../gone && lorakit runs", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "The folder you are in is gone.")


@pytest.mark.slow
def test_a_terminal_that_knows_no_unicode_gets_it_spelt_out(tmp_path: Path) -> None:
    page = tmp_path / "presets" / "fox.toml"
    page.parent.mkdir()
    page.write_text('[about]\nfamily = "sd15"\ntitle = "Füchse 狐"\n', encoding="utf-8")
    done = lorakit("lorakit presets", tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert r"F\xfcchse \u72d0" in done.stdout


def test_a_closed_output_is_not_an_error(tmp_path: Path) -> None:
    done = lorakit("lorakit --version >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_without_a_home_learns_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(
        os, "getuid", lambda: 4_000_000_000
    )  # as in a container started with --user
    with pytest.raises(SetupError, match="no home folder"):
        config.cache_dir()


def test_the_home_of_a_user_nobody_knows_stays_as_it_was_written(own_home: Path) -> None:
    assert at_home(Path("~/models")) == own_home / "models"
    assert at_home(Path("~nobody-of-that-name/models")) == Path("~nobody-of-that-name/models")
