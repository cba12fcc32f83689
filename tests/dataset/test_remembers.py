"""What a dataset remembers: how its pictures are fitted, and which of them are not to be used."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.remembered import PLACE

Photo = Callable[..., Path]
LETTERBOX = ("--fit", "letterbox", "--size", "128", "--background", "grey")


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    """Three originals with captions, just added."""
    for index in range(3):
        photo(
            tmp_path / f"photos/{index}.jpg", (200, 150), index, caption=f"qb_fox, number {index}"
        )
    add(tmp_path / "data", SubsetPlan(7, "qb_fox"), [tmp_path / "photos"])
    return tmp_path / "data"


def prepare(root: Path, *words: str) -> int:
    return main(["dataset", "prepare", str(root), "--no-sheet", *words])


def drop(root: Path, *words: str) -> int:
    return main(["dataset", "drop", str(root), *words])


def trained(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob("[1-9]*_*/*"))


def stamps(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_mtime_ns for name in trained(root)}


def test_prepare_alone_repeats_how_the_dataset_was_fitted(
    root: Path, tmp_path: Path, photo: Photo
) -> None:
    assert prepare(root, *LETTERBOX) == 0
    kept = tomllib.read(root / PLACE)
    assert (kept["fit"], kept["size"], kept["background"]) == ("letterbox", [128, 128], "grey")
    before = stamps(root)
    add(root, SubsetPlan(7, "qb_fox"), [photo(tmp_path / "new.jpg", (300, 200), 9)])
    assert prepare(root) == 0
    after = stamps(root)
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == ["7_qb_fox/new.jpg"]
    with Image.open(root / "7_qb_fox/new.jpg") as image:
        assert image.size == (128, 128)


def test_another_fit_is_not_applied_to_everything_unasked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *LETTERBOX)
    before = stamps(root)
    capsys.readouterr()
    assert prepare(root, "--fit", "bucket") == 1
    told = capsys.readouterr().err
    assert "3 pictures would be made anew" in told
    assert "fit was letterbox" in told
    assert "--yes" in told
    assert stamps(root) == before
    assert tomllib.read(root / PLACE)["fit"] == "letterbox"
    assert prepare(root, "--fit", "bucket", "--yes") == 0
    assert stamps(root) != before
    assert tomllib.read(root / PLACE)["fit"] == "bucket"


def test_a_terminal_is_asked_before_everything_is_made_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(root, *LETTERBOX)
    before = stamps(root)
    monkeypatch.setattr("lorakit.cli.dataset.prepare.agrees", lambda _question: False)
    assert prepare(root, "--fit", "bucket") == 1
    assert stamps(root) == before
    monkeypatch.setattr("lorakit.cli.dataset.prepare.agrees", lambda _question: True)
    assert prepare(root, "--fit", "bucket") == 0
    assert stamps(root) != before


def test_a_folder_remembers_the_buckets_that_the_recipe_gave(root: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        f'preset = "sd15"\nname = "r"\ntrigger = "qb_fox"\n[model]\nbase = "m.safetensors"\n'
        f'[dataset]\npath = "{root}"\n[train]\nresolution = "128"\nmin_bucket_reso = 64\n'
    )
    assert main(["dataset", "prepare", str(tmp_path / "r.toml"), "--no-sheet"]) == 0
    before = stamps(root)
    assert prepare(root) == 0
    assert stamps(root) == before


def test_a_letterbox_is_made_also_where_the_recipes_buckets_are_impossible(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(
        f'preset = "sd15"\nname = "r"\ntrigger = "qb_fox"\n[dataset]\npath = "{root}"\n'
        '[train]\nresolution = "128"\nenable_bucket = true\nmin_bucket_reso = 512\n'
    )
    assert main(["dataset", "prepare", str(tmp_path / "r.toml"), *LETTERBOX]) == 0
    assert (root / ".lorakit/sheet-01.jpg").is_file()


@pytest.mark.parametrize("how", ["original", "prepared", "path", "bare"])
def test_a_dropped_picture_stays_away_from_every_command(
    root: Path,
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(root, *LETTERBOX)
    word = {
        "original": "originals/qb_fox/1.jpg",
        "prepared": "7_qb_fox/1.jpg",
        "path": "data/7_qb_fox/1.jpg",
        "bare": "1.jpg",
    }[how]
    (root / "7_qb_fox/1.txt").write_text("qb_fox, worked on")
    assert drop(root, word) == 0
    left = ["7_qb_fox/0.jpg", "7_qb_fox/0.txt", "7_qb_fox/2.jpg", "7_qb_fox/2.txt"]
    assert trained(root) == left
    assert (root / "originals/qb_fox/1.jpg").exists()
    assert prepare(root) == 0
    assert trained(root) == left
    assert main(["dataset", "select", str(root), "--per-category", "9", "--to", "v2"]) == 0
    assert len(list((tmp_path / "v2/originals/qb_fox").glob("*.jpg"))) == 2
    assert main(["dataset", "bundle", str(root), "--out", "b.zip"]) == 0
    assert not [name for name in zipfile.ZipFile("b.zip").namelist() if "1.jpg" in name]
    capsys.readouterr()
    main(["dataset", "check", str(root)])
    assert "1 dropped" in capsys.readouterr().err
    assert drop(root) == 0
    assert "originals/qb_fox/1.jpg" in capsys.readouterr().out
    assert drop(root, "--back", word) == 0
    assert (root / "7_qb_fox/1.txt").read_text() == "qb_fox, worked on"
    before = stamps(root)
    assert prepare(root) == 0
    assert stamps(root) == before
    assert len(before) == 6


def test_a_dropped_picture_comes_back_into_the_folder_as_it_is_called_now(root: Path) -> None:
    prepare(root, *LETTERBOX)
    assert drop(root, "1.jpg") == 0
    assert main(["dataset", "layout", str(root), "--repeats", "qb_fox=9", "--write"]) == 0
    assert drop(root, "--back", "1.jpg") == 0
    assert "9_qb_fox/1.jpg" in trained(root)


def test_a_picture_of_ones_own_is_dropped_and_comes_back(tmp_path: Path, photo: Photo) -> None:
    for index in range(2):
        photo(tmp_path / f"data/5_fox/{index}.png", (80, 80), index, caption="fox")
    (tmp_path / "data/5_fox/1_0080x0080_sd.npz").write_bytes(b"cache")
    assert drop(tmp_path / "data", "1.png") == 0
    assert trained(tmp_path / "data") == ["5_fox/0.png", "5_fox/0.txt"]
    assert drop(tmp_path / "data", "--back", "1.png") == 0
    assert len(trained(tmp_path / "data")) == 5


def test_what_is_not_there_cannot_be_dropped(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *LETTERBOX)
    before = trained(root)
    assert drop(root, "0.jpg", "l.jpg") == 1
    assert "l.jpg: no such picture" in capsys.readouterr().err
    assert trained(root) == before


def test_a_picture_deleted_by_hand_is_not_brought_back_unasked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *LETTERBOX)
    (root / "7_qb_fox/1.jpg").unlink()
    for _ in range(2):
        capsys.readouterr()
        assert prepare(root) == 0
        told = capsys.readouterr()
        assert "7_qb_fox/1.jpg" in told.out
        assert "--again" in told.out
        assert "lorakit dataset drop" in told.out
        assert "7_qb_fox/1.jpg" not in trained(root)
    assert prepare(root, "--again") == 0
    assert "7_qb_fox/1.jpg" in trained(root)


def test_a_terminal_is_asked_about_a_picture_deleted_by_hand(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(root, *LETTERBOX)
    (root / "7_qb_fox/1.jpg").unlink()
    monkeypatch.setattr("lorakit.cli.dataset.prepare.agrees", lambda _question: False)
    assert prepare(root) == 0
    assert "7_qb_fox/1.jpg" not in trained(root)
    monkeypatch.setattr("lorakit.cli.dataset.prepare.agrees", lambda _question: True)
    assert prepare(root) == 0
    assert "7_qb_fox/1.jpg" in trained(root)


def test_a_folder_deleted_whole_is_made_again(root: Path) -> None:
    prepare(root, *LETTERBOX)
    for path in (root / "7_qb_fox").iterdir():
        path.unlink()
    (root / "7_qb_fox").rmdir()
    assert prepare(root) == 0
    assert len(trained(root)) == 6


def test_a_file_of_wishes_with_nonsense_in_it_is_refused_in_words(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / PLACE).write_text('fit = "stretch"\nsize = "big"\ndropped = 3\n')
    assert prepare(root) == 1
    told = capsys.readouterr().err
    for key in ("fit", "size", "dropped"):
        assert f"{PLACE} {key} = " in told
