"""Temporary files belong to their process, and names are taken, not looked at first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lorakit import files
from lorakit.files import hidden_file, owner_mark, sweep, take_name, write_atomic, write_new


def left_by_another(path: Path) -> Path:
    """A temporary neighbour of `path` from a process that has ended."""
    code = f"from lorakit.files import hidden_file; from pathlib import Path; print(hidden_file(Path({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_a_temporary_file_says_whose_it_is(tmp_path: Path) -> None:
    path = hidden_file(tmp_path / "a.txt")
    assert re.fullmatch(rf"\.a\.txt\.{os.getpid()}-\d+-[0-9a-f]{{8}}\.\w{{8}}\.tmp", path.name)


def test_only_what_the_dead_have_left_is_swept(tmp_path: Path) -> None:
    ours, dead = hidden_file(tmp_path / "a.txt"), left_by_another(tmp_path / "a.txt")
    alive = (
        tmp_path
        / f".a.txt.{os.getppid()}-{files.start_ticks(os.getppid())}-{files._machine()}.abcdefgh.tmp"
    )
    reused = tmp_path / f".a.txt.{os.getppid()}-1-{files._machine()}.abcdefgh.tmp"
    foreign = tmp_path / ".a.txt.1-1-00000000.abcdefgh.tmp"
    old = tmp_path / ".b.txt.1-1-00000000.abcdefgh.tmp"
    somebodys = tmp_path / ".a.txt.tmp"
    for path in (alive, reused, foreign, old, somebodys):
        path.touch()
    os.utime(old, (0, 0))
    sweep(tmp_path.iterdir())
    assert set(tmp_path.iterdir()) == {ours, alive, foreign, somebodys}
    sweep(tmp_path.iterdir(), own=True)
    assert set(tmp_path.iterdir()) == {alive, foreign, somebodys}
    assert not dead.exists()


def test_a_swept_folder_goes_with_what_is_in_it_but_no_link_is_followed(tmp_path: Path) -> None:
    gone = f"{2**22 + 1}-1-{files._machine()}"
    folder, photos = tmp_path / f"lorakit-add-{gone}-abc", tmp_path / "photos"
    folder.mkdir()
    photos.mkdir()
    for place in (folder, photos):
        (place / "a.jpg").touch()
    (folder / "link").symlink_to(photos)
    (tmp_path / f"lorakit-add-{gone}-link").symlink_to(photos)
    sweep(tmp_path.glob("lorakit-add-*"))
    assert list(tmp_path.iterdir()) == [photos]
    assert (photos / "a.jpg").exists()


def test_a_name_is_taken_once_by_eight_at_once(tmp_path: Path) -> None:
    target, won, lost = tmp_path / "a.txt", [], []
    barrier = threading.Barrier(8)

    def take(number: int) -> None:
        barrier.wait()
        try:
            write_new(target, f"{number}")
            won.append(number)
        except FileExistsError:
            lost.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert target.read_text() == f"{won[0]}"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_is_taken_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    write_new(tmp_path / "a.txt", "one")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a.txt", "two")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]


def test_a_link_that_leads_nowhere_is_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        take_name(hidden_file(tmp_path / "b.txt"), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").is_symlink()


def test_the_mark_is_found_in_names_of_every_kind(tmp_path: Path) -> None:
    write_atomic(tmp_path / "1-2-0123abcd.txt", "a caption of somebody's, named like a mark")
    sweep(path for path in tmp_path.iterdir() if path.name.startswith("."))
    assert [path.name for path in tmp_path.iterdir()] == ["1-2-0123abcd.txt"]
    assert re.fullmatch(files.MARK, owner_mark())


def test_the_next_file_in_a_folder_clears_away_what_the_dead_have_left_there(
    tmp_path: Path,
) -> None:
    dead = [left_by_another(tmp_path / name) for name in ("15.txt", "16.txt")]
    (tmp_path / ".somebodys.tmp").touch()
    write_atomic(tmp_path / "17.txt", "zwx")
    assert not any(path.exists() for path in dead)
    assert {path.name for path in tmp_path.iterdir()} == {".somebodys.tmp", "17.txt"}


@pytest.mark.parametrize("private", [True, False])
def test_nobody_else_can_read_a_file_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, private: bool
) -> None:
    seen: list[int] = []
    flush = os.fsync

    def look(handle: int) -> None:
        seen.extend(path.stat().st_mode & 0o777 for path in tmp_path.glob(".a.txt.*"))
        flush(handle)

    monkeypatch.setattr(os, "fsync", look)
    write_atomic(tmp_path / "a.txt", "secret", private=private)
    assert seen == [0o600]
    assert not private or (tmp_path / "a.txt").stat().st_mode & 0o077 == 0
