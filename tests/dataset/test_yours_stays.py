"""Whatever prepare is told, a picture that lorakit did not make stays as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from drawings import Photo

from lorakit.cli.main import main
from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.prepare import prepare


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".lorakit" not in path.parts
    }


@pytest.fixture
def own(tmp_path: Path, photo: Photo) -> Path:
    """A dataset of somebody's own pictures, as kohya wants them, without originals."""
    root = tmp_path / "data"
    for number in range(18):
        photo(root / f"8_zwx/{number:02}.jpg", (160, 120), number, caption=f"zwx, {number}")
    return root


def run(*words: object) -> int:
    return main(["dataset", "prepare", *map(str, words), "--no-sheet"])


@pytest.mark.parametrize("words", [(), ("--force",), ("--force", "--trigger", "zwx")], ids=" ".join)
@pytest.mark.parametrize("source", ["8_zwx", "", "8_zwx/../8_zwx", "LINK"])
def test_a_source_inside_the_dataset_is_refused(
    words: tuple[str, ...], source: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own.parent / "link").symlink_to(own / "8_zwx")
    before = tree(own)
    place = own.parent / "link" if source == "LINK" else own / source
    assert run(own, "--from", place, *words) == 1
    err = capsys.readouterr().err
    assert "is inside the dataset" in err
    assert "are trained on as they are" in err
    assert "--force" not in err
    assert tree(own) == before


def test_another_folder_inside_is_refused_with_the_command_that_works(
    own: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(own / "raw/a.jpg", (160, 120), 99)
    assert run(own, "--from", own / "raw") == 1
    assert f"lorakit dataset add {own} {own / 'raw'} copies them" in capsys.readouterr().err
    assert main(["dataset", "add", str(own), str(own / "raw"), "--trigger", "zwx"]) == 0
    assert run(own) == 0
    assert (own / "8_zwx/a.jpg").is_file()


def test_force_keeps_and_names_what_lorakit_did_not_make(
    own: Path, photo: Photo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From outside, under the same names: the one way that --force could still reach them."""
    for number in range(18):
        photo(tmp_path / f"photos/{number:02}.jpg", (160, 120), number + 50)
    photo(tmp_path / "photos/new.jpg", (160, 120), 99)
    before = tree(own)
    assert run(own, "--from", tmp_path / "photos", "--trigger", "zwx", "--force") == 0
    said = capsys.readouterr()
    assert "18 kept" in said.err
    assert all(f"8_zwx/{number:02}.jpg" in said.out for number in range(18))
    assert "not made by lorakit" in said.out
    assert "--force" not in said.out + said.err
    new = {name: tree(own)[name] for name in ("8_zwx/new.jpg", "prepare.toml")}
    assert tree(own) == before | new


def test_force_makes_again_what_lorakit_made(
    photo: Photo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    photo(tmp_path / "photos/a.jpg", (160, 120))
    assert run(root, "--from", tmp_path / "photos", "--trigger", "fox") == 0
    made = tree(root)
    photo(root / "10_fox/a.jpg", (160, 120), 7)
    assert run(root, "--from", tmp_path / "photos", "--trigger", "fox") == 0
    assert "--force makes it again" in capsys.readouterr().out
    assert tree(root) != made
    assert run(root, "--from", tmp_path / "photos", "--trigger", "fox", "--force") == 0
    assert tree(root) == made


def test_a_folder_of_photos_that_holds_the_dataset_is_read_without_it(
    photo: Photo, tmp_path: Path
) -> None:
    photo(tmp_path / "photos/a.jpg", (160, 120))
    root = tmp_path / "photos/data"
    for _ in range(2):
        assert run(root, "--from", tmp_path / "photos", "--trigger", "fox") == 0
        assert [path.name for path in (root / "10_fox").iterdir()] == ["a.jpg"]


def test_a_picture_that_came_meanwhile_stays(photo: Photo, tmp_path: Path) -> None:
    """Between the decision and the move: from the first progress report on, a file is there."""
    for name in ("a", "b"):
        photo(tmp_path / f"photos/{name}.jpg", (160, 120))
    root = tmp_path / "data"
    root.mkdir()
    jobs = jobs_of(root, Settings(), source=tmp_path / "photos", trigger="fox")
    theirs = tmp_path / "theirs.jpg"
    photo(theirs, (64, 64), 5)

    def come(_done: int, _all: int) -> None:
        if not (root / "10_fox/b.jpg").exists():
            (root / "10_fox/b.jpg").write_bytes(theirs.read_bytes())
            os.symlink("nowhere", root / "10_fox/c.jpg")

    outcome = prepare(root, jobs, force=True, progress=come)
    assert [path.name for path in outcome.made] == ["a.jpg"]
    assert [fault.where for fault in outcome.kept] == ["10_fox/b.jpg"]
    assert (root / "10_fox/b.jpg").read_bytes() == theirs.read_bytes()
    assert not list(root.rglob("*.tmp"))
