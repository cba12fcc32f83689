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


def listing(*folders: Path) -> list[tuple[str, int]]:
    """Everything there is, folders too, with its time."""
    found = (path for folder in folders for path in [folder, *folder.rglob("*")])
    return sorted((str(path), path.lstat().st_mtime_ns) for path in found)


@pytest.fixture
def albums(kohya: Path, tmp_path: Path, photo: Photo) -> Path:
    """Folders as four programs leave them, each with pictures of qb_robin."""
    for number in range(2):
        words = f"qb_robin, {number}"
        photo(tmp_path / f"named/10_qb_robin/{number}.jpg", (90, 80), number, caption=words)
        photo(tmp_path / f"toolkit/{number}.jpg", (90, 80), number, caption=f"[trigger], {number}")
        photo(tmp_path / f"musubi/{number}.png", (90, 80), number, caption=words)
    for cache in (
        "toolkit/_latent_cache/0_a.safetensors",
        "musubi_cache/0_0090x0080_wan.safetensors",
    ):
        (tmp_path / cache).parent.mkdir()
        (tmp_path / cache).write_bytes(b"a cache")
    (tmp_path / "toolkit/.aitk_size.json").write_text("{}")
    return tmp_path


LYING = {
    "named": {"named/10_qb_robin": 10},
    "named/10_qb_robin": {"named/10_qb_robin": 10},
    "album": {"album/img/30_qb_robin": 30, "album/img/5_qb_robin_sea": 5},
    "album/img": {"album/img/30_qb_robin": 30, "album/img/5_qb_robin_sea": 5},
    "toolkit": {"toolkit": 10},
    "musubi": {"musubi": 10},
}


@pytest.mark.parametrize("album", LYING)
def test_an_album_is_taken_over_as_it_lies_by_one_command(
    album: str, albums: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(
        *(albums / name for name in ("named", "album", "toolkit", "musubi", "musubi_cache"))
    )
    project = albums / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    words = ["robin", "--preset", "sdxl", "--trigger", "qb_robin", "--album", str(albums / album)]
    assert main(["new", *words]) == 0
    told = capsys.readouterr().err
    assert "as they lie" in told
    assert "Next: lorakit dataset review recipes/robin.toml" in told
    assert main(["dataset", "check", "recipes/robin.toml", "--json"]) == 0
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert not [one for one in faults if one["rule"] in {"edited", "nested", "image-outside"}]
    main(["dataset", "layout", "recipes/robin.toml", "--json"])
    subsets = json.loads(capsys.readouterr().out)["subsets"]
    found = {one["folder"]: one["repeats"] for one in subsets if not one["reg"]}
    assert found == {Path(name).name: repeats for name, repeats in LYING[album].items()}
    assert [one["folder"] for one in subsets if one["reg"]] == ["1_man"] * (album == "album")
    assert main(["dataset", "add", "recipes/robin.toml", str(albums / album)]) == 0
    assert "nothing was copied" in capsys.readouterr().err
    assert (
        listing(
            *(albums / name for name in ("named", "album", "toolkit", "musubi", "musubi_cache"))
        )
        == before
    )
    assert sorted(path.name for path in project.rglob("*")) == [
        ".recipe.schema.json",
        "recipes",
        "robin.toml",
    ]
    assert "cache_latents_to_disk = false" in (project / "recipes/robin.toml").read_text()


def test_the_trigger_of_an_album_is_read_off_its_folders(
    albums: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(albums)
    assert main(["new", "robin", "--preset", "sdxl", "--album", "album"]) == 0
    text = (albums / "recipes/robin.toml").read_text()
    assert 'trigger = "qb_robin"' in text
    assert 'path     = "album/img"' in text
    assert 'reg_path = "album/reg"' in text
    capsys.readouterr()
    assert main(["new", "other", "--preset", "sdxl", "--album", "musubi"]) == 2  # nothing says it
    assert "--album musubi --trigger" in capsys.readouterr().err


def test_an_album_that_cannot_lie_as_it_does_is_refused(
    albums: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(albums)
    (albums / "deep/a/b").mkdir(parents=True)
    shutil.copy(albums / "musubi/0.png", albums / "deep/a/b")
    new = ["new", "robin", "--preset", "sdxl", "--trigger", "qb_robin", "--album"]
    for name, word in {"deep": "lorakit dataset add", "nowhere": "no such folder"}.items():
        assert main([*new, name]) == 1
        assert word in capsys.readouterr().err
    assert not (albums / "recipes").exists()


def test_pictures_of_a_flat_album_are_edited_dropped_and_taken_back_where_they_lie(
    albums: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(albums)
    main(["new", "robin", "--preset", "sdxl", "--trigger", "qb_robin", "--album", "toolkit"])
    main(["dataset", "check", "recipes/robin.toml"])
    assert "--replace '[trigger]=qb_robin'" in capsys.readouterr().out
    words = ["dataset", "caption", "recipes/robin.toml"]
    assert main([*words, "--replace", "[trigger]=qb_robin", "--write"]) == 0
    assert (albums / "toolkit/1.txt").read_text() == "qb_robin, 1\n"
    assert main([*words, "--undo"]) == 0
    assert main(["dataset", "drop", "recipes/robin.toml", "1.jpg"]) == 0
    assert sorted(path.name for path in (albums / "toolkit").glob("?.*")) == ["0.jpg", "0.txt"]
    assert main(["dataset", "drop", "recipes/robin.toml", "--back", "1.jpg"]) == 0
    assert (albums / "toolkit/1.txt").read_text() == "[trigger], 1\n"
    capsys.readouterr()
    for asked in (["--repeats", "toolkit=20"], ["--steps", "500"]):
        assert main(["dataset", "layout", "recipes/robin.toml", *asked]) == 1
        assert "[dataset.subset.toolkit] num_repeats = " in capsys.readouterr().err


def test_a_flat_folder_is_told_how_it_is_taken_over(
    albums: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(albums)
    assert main(["dataset", "check", "musubi"]) == 1
    told = capsys.readouterr()
    assert f"lorakit new NAME --preset P --trigger T --album {albums / 'musubi'}" in told.out
    assert "PHOTOS" not in told.err
