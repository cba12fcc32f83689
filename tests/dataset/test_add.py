from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.dataset.build.manifest import SubsetPlan, read_arrangement
from lorakit.dataset.build.originals import add, clean_name
from lorakit.files import owner_mark
from lorakit.portable import leads_out

Photo = Callable[..., Path]
FOX = SubsetPlan(10, "qb_fox")


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def photos(tmp_path: Path, photo: Photo) -> Path:
    for index in range(3):
        photo(
            tmp_path / f"photos/day {index}/IMG_{index}.JPG",
            (200, 160),
            index,
            image=None,
            caption=f"qb_fox, number {index}",
        )
    return tmp_path / "photos"


def test_photos_are_copied_with_their_captions_and_the_source_stays(
    tmp_path: Path, photos: Path
) -> None:
    before = tree(photos)
    outcome = add(tmp_path / "data", FOX, [photos])
    assert tree(photos) == before
    folder = tmp_path / "data/originals/qb_fox"
    assert sorted(path.name for path in folder.iterdir()) == [
        "IMG_0.jpg",
        "IMG_0.txt",
        "IMG_1.jpg",
        "IMG_1.txt",
        "IMG_2.jpg",
        "IMG_2.txt",
    ]
    assert (folder / "IMG_1.jpg").read_bytes() == (photos / "day 1/IMG_1.JPG").read_bytes()
    assert len(outcome.added) == 3
    assert not outcome.refused
    assert read_arrangement(tmp_path / "data").subsets == {"qb_fox": FOX}
    journal = [
        json.loads(line)
        for line in (tmp_path / "data/.lorakit/added.jsonl").read_text().splitlines()
    ]
    assert [entry["file"] for entry in journal] == [
        "originals/qb_fox/IMG_0.jpg",
        "originals/qb_fox/IMG_1.jpg",
        "originals/qb_fox/IMG_2.jpg",
    ]


def test_what_is_there_by_content_is_left_alone_whatever_its_name(
    tmp_path: Path, photos: Path
) -> None:
    add(tmp_path / "data", FOX, [photos])
    (photos / "day 0/IMG_0.JPG").rename(photos / "renamed.jpg")
    outcome = add(tmp_path / "data", FOX, [photos])
    assert (len(outcome.added), len(outcome.present), outcome.refused) == (0, 3, [])


def test_a_caption_that_comes_later_is_added_and_an_edited_one_stays(
    tmp_path: Path, photos: Path
) -> None:
    folder = tmp_path / "data/originals/qb_fox"
    add(tmp_path / "data", FOX, [photos])
    (folder / "IMG_0.txt").unlink()
    (folder / "IMG_1.txt").write_text("mine")
    add(tmp_path / "data", FOX, [photos])
    assert (folder / "IMG_0.txt").read_text() == "qb_fox, number 0"
    assert (folder / "IMG_1.txt").read_text() == "mine"


def test_each_refusal_has_its_name_and_reason_and_stops_nobody(
    tmp_path: Path, photos: Path, photo: Photo
) -> None:
    photo(photos / "small.png", (40, 200))
    (photos / "broken.jpg").write_bytes((photos / "day 0/IMG_0.JPG").read_bytes()[:3000])
    (photos / "empty.png").write_bytes(b"")
    (photos / "day 2/twin.jpg").write_bytes((photos / "day 2/IMG_2.JPG").read_bytes())
    outcome = add(tmp_path / "data", FOX, [photos, tmp_path / "nowhere"])
    assert len(outcome.added) == 3
    assert {(Path(fault.where).name, fault.rule) for fault in outcome.refused} == {
        ("small.png", "too-small"),
        ("broken.jpg", "undecodable"),
        ("empty.png", "undecodable"),
        ("twin.jpg", "duplicate"),
        ("nowhere", "no-file"),
    }


def test_the_caption_of_a_refused_twin_is_not_lost(tmp_path: Path, photos: Path) -> None:
    (photos / "a.jpg").write_bytes((photos / "day 2/IMG_2.JPG").read_bytes())
    add(tmp_path / "data", FOX, [photos])
    assert (tmp_path / "data/originals/qb_fox/a.txt").read_text() == "qb_fox, number 2"


def test_the_same_picture_in_another_subset_is_a_duplicate(tmp_path: Path, photos: Path) -> None:
    add(tmp_path / "data", FOX, [photos])
    outcome = add(tmp_path / "data", SubsetPlan(5, "qb_fox", "body"), [photos])
    assert [fault.rule for fault in outcome.refused] == ["duplicate"] * 3
    assert "originals/qb_fox/IMG_0.jpg" in outcome.refused[0].what


def test_names_that_clash_or_cannot_be_written_everywhere_get_new_ones(
    tmp_path: Path, photo: Photo
) -> None:
    photo(tmp_path / "a/x.png", seed=1, caption="qb_fox, a")
    photo(tmp_path / "b/X.jpg", seed=2, caption="qb_fox, b")
    photo(tmp_path / "c/new\nline: ?.png", seed=3)
    outcome = add(tmp_path / "data", FOX, [tmp_path / name for name in "abc"])
    assert [item.path.name for item in outcome.added] == ["x.png", "X-2.jpg", "new_line_ _.png"]
    assert (tmp_path / "data/originals/qb_fox/X-2.txt").read_text() == "qb_fox, b"
    assert len(clean_name("ä" * 300 + ".png").encode()) < 200


def test_an_archive_is_unpacked_without_ever_leaving_its_place(
    tmp_path: Path, photos: Path
) -> None:
    picture = (photos / "day 0/IMG_0.JPG").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/good.jpg", picture)
        archive.writestr("set/good.txt", "qb_fox, from the archive")
        archive.writestr("../../escape.jpg", picture)
        archive.writestr("/abs.jpg", picture)
        archive.writestr("bomb.png", b"\0" * 50_000_000)
        archive.writestr("__MACOSX/._good.jpg", b"x")
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    outcome = add(tmp_path / "data", FOX, [tmp_path / "a.zip"])
    assert [(item.path.name, item.caption is not None) for item in outcome.added] == [
        ("good.jpg", True)
    ]
    assert {fault.where.split("!")[1] for fault in outcome.refused} == {
        "../../escape.jpg",
        "/abs.jpg",
        "bomb.png",
        "link.jpg",
    }
    assert not list(tmp_path.rglob("escape*"))


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path, photos: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(photos / "day 0/IMG_0.JPG", "a.jpg")
        archive.write(photos / "day 1/IMG_1.JPG", "b.jpg")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[200:400] = b"\0" * 200
    (tmp_path / "a.zip").write_bytes(data)
    outcome = add(tmp_path / "data", FOX, [tmp_path / "a.zip"])
    assert [item.path.name for item in outcome.added] == ["b.jpg"]
    assert "CRC" in outcome.refused[0].what


def test_a_dry_run_writes_nothing(tmp_path: Path, photos: Path) -> None:
    (photos / "twin.jpg").write_bytes((photos / "day 2/IMG_2.JPG").read_bytes())
    outcome = add(tmp_path / "data", FOX, [photos], dry_run=True)
    assert (len(outcome.added), len(outcome.refused)) == (3, 1)
    assert not (tmp_path / "data").exists()


def test_half_copies_of_a_killed_run_are_swept_away(tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "data/originals/qb_fox"
    folder.mkdir(parents=True)
    gone = f"{2**22 + 1}-1-{owner_mark().rpartition('-')[2]}"  # no process has such a number
    incoming = Path(tempfile.mkdtemp(prefix=f"lorakit-add-{gone}-"))
    (folder / f".a.jpg.{gone}.abcdefgh.tmp").write_bytes(b"half")
    words = ["dataset", "add", str(tmp_path / "data"), str(photos), "--trigger", "qb_fox"]
    assert main(words) == 0
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert not incoming.exists()


def test_repeats_of_a_folder_that_stands_are_not_changed_in_silence(
    tmp_path: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/fox/4_qb_fox").mkdir(parents=True)
    words = ["dataset", "add", "datasets/fox", str(photos), "--trigger", "qb_fox", "--repeats"]
    assert main([*words, "4"]) == 0
    assert "keeps its repeats" not in capsys.readouterr().err
    assert main([*words, "20"]) == 0
    assert "lorakit dataset layout datasets/fox --repeats qb_fox=20" in capsys.readouterr().err


def test_photos_before_the_recipe_are_told_and_nothing_is_written_among_them(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "maya.toml"
    recipe.write_text("", encoding="utf-8")
    before = sorted(photos.rglob("*"))
    assert main(["dataset", "add", str(photos), str(recipe)]) == 1
    assert f"lorakit dataset add {recipe} {photos}" in capsys.readouterr().err
    assert main(["dataset", "add", str(photos / "day 1"), str(photos)]) == 1
    assert "holds photos itself" in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before


def test_the_command_makes_a_new_folder_and_remembers_repeats_and_tag(
    tmp_path: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "dataset",
                "add",
                "datasets/fox",
                str(photos),
                "--repeats",
                "20",
                "--trigger",
                "qb_fox",
                "--tag",
                "realistic_body",
            ]
        )
        == 0
    )
    assert "3 images copied" in capsys.readouterr().err
    assert read_arrangement(tmp_path / "datasets/fox").subsets == {
        "qb_fox_realistic_body": SubsetPlan(20, "qb_fox", "realistic_body")
    }
    assert (
        main(["dataset", "add", "datasets/fox", str(photos), "--tag", "realistic_body", "--json"])
        == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert (data["subset"], len(data["present"])) == ("20_qb_fox_realistic_body", 3)
    assert main(["dataset", "add", "datasets/fox", "nothing.jpg"]) == 1
    assert main(["dataset", "add", "datasets/fox", str(photos), "--trigger", "a/b"]) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused_by_name(tmp_path: Path, photos: Path) -> None:
    (photos / "day 0/IMG_0.JPG").chmod(0)
    assert "IMG_0.JPG" in add(tmp_path / "data", FOX, [photos]).refused[0].where


def test_an_entry_without_a_name_is_left_out_of_a_zip_and_said(
    tmp_path: Path, photo: Photo
) -> None:
    nameless = zipfile.ZipInfo("x")
    nameless.filename = ""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(photo(tmp_path / "a.jpg"), "a.jpg")
        archive.writestr(nameless, b"?")
    outcome = add(tmp_path / "data", FOX, [tmp_path / "a.zip"])
    assert len(outcome.added) == 1
    assert any("without a name" in str(fault) for fault in outcome.refused)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_broken_inside_an_entry_is_refused_by_name(
    tmp_path: Path, photo: Photo, method: int
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(photo(tmp_path / "a.bmp", (200, 160), 1), "a.bmp")
    data = bytearray(path.read_bytes())
    data[60:400] = bytes(byte ^ 0xFF for byte in data[60:400])
    path.write_bytes(data)
    outcome = add(tmp_path / "data", FOX, [path])
    assert [(fault.where, "cannot be unpacked" in fault.what) for fault in outcome.refused] == [
        (f"{path}!a.bmp", True)
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.zip", b"PK\3\4 cut off", "cannot be read as a zip archive"),
        ("a.rar", b"Rar!", "only zip archives"),
        ("a.zip", b"PK\5\6" + b"\0" * 18, "holds no image"),
    ],
)
def test_an_archive_that_brings_nothing_says_why(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    outcome = add(tmp_path / "data", FOX, [tmp_path / name])
    assert [(fault.where, said in fault.what) for fault in outcome.refused] == [
        (str(tmp_path / name), True)
    ]


def test_a_folder_without_images_and_an_archive_in_a_folder_are_told(
    tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (photos / "more.zip").write_bytes(b"PK\5\6" + b"\0" * 18)
    outcome = add(tmp_path / "data", FOX, [tmp_path / "empty", photos])
    assert len(outcome.added) == 3
    assert [(Path(fault.where).name, fault.severity) for fault in outcome.refused] == [
        ("empty", "error"),
        ("more.zip", "warning"),
    ]


def test_a_caption_that_would_unpack_to_gigabytes_is_not_unpacked(
    tmp_path: Path, photo: Photo
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(photo(tmp_path / "a.jpg", (200, 160), 1), "a.jpg")
        archive.writestr("a.txt", b"a" * 5_000_000)
    outcome = add(tmp_path / "data", FOX, [tmp_path / "a.zip"])
    assert [item.caption for item in outcome.added] == [None]
    assert "would unpack from" in outcome.refused[0].what


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("night/2024-05-01 12:30.jpg", True),
        ("12:30.jpg", True),
        ("photos\\a.jpg", True),
        ("C:a.jpg", False),
        ("C:\\a.jpg", False),
        ("..\\a.jpg", False),
        ("\\\\host\\a.jpg", False),
    ],
)
def test_one_rule_says_which_names_lead_out_of_an_archive(
    tmp_path: Path, photos: Path, name: str, *, good: bool
) -> None:
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, (photos / "day 0/IMG_0.JPG").read_bytes())
    outcome = add(tmp_path / "data", FOX, [tmp_path / "a.zip"])
    assert (len(outcome.added), len(outcome.refused)) == ((1, 0) if good else (0, 1))
    assert leads_out(name) != good
