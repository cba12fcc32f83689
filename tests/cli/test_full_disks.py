"""A disk that is full or read-only, a folder that nobody may change: the path, the need, the next
command; and what was there stays.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lorakit.cli.main import main

WRITING = [
    ["new", "fox", "--preset", "sdxl", "--trigger", "fox_char", "--dir", "."],
    ["presets", "copy", "sdxl", "--to", "."],
    ["dataset", "caption", "ds", "--add", "new", "--write"],
]


def mounted(place: Path, options: str) -> Path:
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    return place


def filled(place: Path) -> None:
    from drawings import drawing

    home = place / "ds" / "5_zwx"
    home.mkdir(parents=True)
    drawing((64, 64)).save(home / "a.png")
    (home / "a.txt").write_text("zwx, old\n")


@pytest.fixture(params=["full", "read-only"])
def bad_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    place = mounted(tmp_path / "disk", "size=1m")
    try:
        filled(place)
        if request.param == "full":
            with suppress(OSError), (place / "full").open("wb", 0) as file:
                while True:
                    file.write(bytes(4096))
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield request.param, place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("words", WRITING, ids=["new", "presets", "caption"])
def test_a_disk_that_takes_nothing_is_named_with_the_way_out(
    words: list[str],
    bad_disk: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, place = bad_disk
    monkeypatch.chdir(place)
    assert main(words) == 1
    told = capsys.readouterr().err
    assert {"full": "No space left", "read-only": "Read-only file system"}[kind] in told
    assert {"full": "df -h", "read-only": "findmnt -T"}[kind] in told
    assert ".tmp" not in told
    assert (place / "ds" / "5_zwx" / "a.txt").read_text() == "zwx, old\n"


def test_a_folder_that_nobody_may_change_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path)
    home = tmp_path / "ds" / "5_zwx"
    change = subprocess.run(["chattr", "+i", str(home)], capture_output=True, check=False)
    if change.returncode:
        pytest.skip("no immutable folders on this file system")
    try:
        monkeypatch.chdir(tmp_path)
        assert main(["dataset", "caption", "ds", "--add", "new", "--write"]) == 1
        told = capsys.readouterr().err
        assert "a.txt: Operation not permitted." in told
        assert "lsattr -d" in told
        assert ".tmp" not in told
    finally:
        subprocess.run(["chattr", "-i", str(home)], check=True)
