"""Taking over an album as it lies: nothing in it is touched, and nothing is copied unless asked."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.dataset.scan import scan

Photo = Callable[..., Path]


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def take(root: Path, *words: object) -> int:
    return main(["dataset", "add", str(root), *map(str, words)])


def prepared(root: Path) -> dict[str, str]:
    """Every caption in the subsets of a dataset that has just been prepared."""
    assert main(["dataset", "prepare", str(root), "--fit", "none", "--no-sheet"]) == 0
    return {
        f"{subset.path.name}/{image.path.name}": image.caption
        for subset in scan(root).subsets
        for image in subset.images
    }


@pytest.fixture
def kohya(tmp_path: Path, photo: Photo) -> Path:
    """As kohya's scripts want it, with the folders that its GUI makes beside."""
    album = tmp_path / "album"
    for number in range(2):
        photo(
            album / f"img/30_qb_robin/{number}.jpg", (90, 80), number, caption=f"qb_robin, {number}"
        )
        photo(
            album / f"img/5_qb_robin_sea/{number}.jpg",
            (90, 80),
            number + 9,
            caption=f"sea {number}",
        )
    (album / "log").mkdir()
    photo(album / "reg/1_man/0.jpg", (90, 80), 70)
    return album


@pytest.mark.parametrize("where", ["album", "album/img"])
def test_folders_with_repeats_become_subsets_of_their_own(
    kohya: Path, tmp_path: Path, where: str
) -> None:
    before = state(kohya)
    assert take(tmp_path / "data", tmp_path / where, "--link") == 0
    links = [path for path in (tmp_path / "data/originals").rglob("*.jpg") if path.is_symlink()]
    assert len(links) == 4
    assert prepared(tmp_path / "data") == {
        "30_qb_robin/0.jpg": "qb_robin, 0",
        "30_qb_robin/1.jpg": "qb_robin, 1",
        "5_qb_robin_sea/0.jpg": "sea 0",
        "5_qb_robin_sea/1.jpg": "sea 1",
    }
    assert state(kohya) == before


def test_a_flat_folder_becomes_one_subset(tmp_path: Path, photo: Photo) -> None:
    for number in range(2):
        photo(tmp_path / f"flat/{number}.png", (90, 80), number, caption=f"fox {number}")
    before = state(tmp_path / "flat")
    assert (
        take(tmp_path / "data", tmp_path / "flat", "--link", "--trigger", "fox", "--repeats", "9")
        == 0
    )
    assert prepared(tmp_path / "data") == {"9_fox/0.jpg": "fox 0", "9_fox/1.jpg": "fox 1"}
    assert state(tmp_path / "flat") == before


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_captions_in_one_list_beside_the_pictures_come_along(
    tmp_path: Path, photo: Photo, kind: str
) -> None:
    rows = [("a.png", "a fox, on snow"), ("sub/b.png", "a fox, asleep")]
    for number, (name, _) in enumerate(rows):
        photo(tmp_path / "hub" / name, (90, 80), number)
    lines = {
        "jsonl": [json.dumps({"file_name": name, "text": text}) for name, text in rows],
        "csv": ["file_name,text", *(f'{name},"{text}"' for name, text in rows)],
    }[kind]
    (tmp_path / f"hub/metadata.{kind}").write_text("\n".join(lines) + "\n")
    assert take(tmp_path / "data", tmp_path / "hub", "--link", "--trigger", "fox") == 0
    assert sorted(prepared(tmp_path / "data").values()) == ["a fox, asleep", "a fox, on snow"]


def test_a_list_of_captions_with_nonsense_in_it_harms_nothing(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "hub/a.png", (90, 80), 1)
    (tmp_path / "hub/metadata.jsonl").write_text('[]\n{"file_name": 3}\nnot json\n{"text": "x"}\n')
    assert take(tmp_path / "data", tmp_path / "hub", "--trigger", "fox") == 0


def test_a_dataset_that_is_one_already_is_left_as_it_is_and_said_to_be_one(
    kohya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(kohya)
    for what in (kohya / "img", kohya / "img/30_qb_robin"):
        assert take(kohya / "img", what) == 0
        told = capsys.readouterr().err
        assert "4 pictures" in told
        assert "trained on as they lie" in told
        assert "Next: lorakit dataset" in told
        assert "edited" not in told
    assert state(kohya) == before


def test_a_year_is_no_number_of_repeats(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "album/2024_italy/a.jpg", (90, 80), 1)
    assert take(tmp_path / "data", tmp_path / "album", "--trigger", "fox") == 0
    assert list(prepared(tmp_path / "data")) == ["10_fox/a.jpg"]


def test_holidays_that_are_numbered_are_no_subsets_of_the_recipes_trigger(
    tmp_path: Path, photo: Photo
) -> None:
    photo(tmp_path / "album/01_sea/a.jpg", (90, 80), 1)
    assert take(tmp_path / "data", tmp_path / "album", "--trigger", "fox") == 0
    assert list(prepared(tmp_path / "data")) == ["10_fox/a.jpg"]


def test_an_album_that_has_gone_is_named_and_nothing_is_lost(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "flat/a.png", (90, 80), 1, caption="fox")
    take(tmp_path / "data", tmp_path / "flat", "--link", "--trigger", "fox")
    prepared(tmp_path / "data")
    (tmp_path / "flat").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    main(["dataset", "prepare", str(tmp_path / "data"), "--no-sheet"])
    told = capsys.readouterr().out
    assert "originals/fox/a.png" in told
    assert "10_fox/a.jpg" in [
        path.relative_to(tmp_path / "data").as_posix()
        for path in (tmp_path / "data").glob("10_*/*")
    ]


def test_what_comes_out_of_an_archive_is_copied_where_links_were_asked_for(
    tmp_path: Path, photo: Photo
) -> None:
    photo(tmp_path / "flat/a.png", (90, 80), 1)
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "flat")
    assert take(tmp_path / "data", tmp_path / "a.zip", "--link", "--trigger", "fox") == 0
    copied = tmp_path / "data/originals/fox/a.png"
    assert copied.is_file()
    assert not copied.is_symlink()
