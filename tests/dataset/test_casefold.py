"""On a disk that takes IMG.JPG and img.jpg for one file, neither ever takes the other's place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Photo = Callable[..., Path]
FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler for the disk without upper and lower case")
    made = tmp_path_factory.mktemp("shim") / "casefold.so"
    words = [compiler, "-shared", "-fPIC", "-o", str(made), str(FAKES / "casefold.c"), "-ldl"]
    subprocess.run(words, check=True)
    return made


@pytest.fixture
def disk(shim: Path, tmp_path: Path) -> tuple[Path, Callable[..., str]]:
    """A folder on such a disk, and what runs lorakit there: commands, one after the other."""
    place = tmp_path / "disk"
    place.mkdir()
    env = {**os.environ, "LD_PRELOAD": str(shim), "CASEFOLD": str(place)}

    def lorakit(*commands: tuple[object, ...]) -> str:
        every = [["dataset", *map(str, words)] for words in commands]
        code = f"from lorakit.cli.main import main\nfor words in {every}: main(words)"
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, env=env, capture_output=True, text=True)
        return done.stdout + done.stderr

    return place, lorakit


def test_the_disk_is_one(disk: tuple[Path, Callable[..., str]], shim: Path) -> None:
    place, _ = disk
    (place / "IMG.JPG").write_text("upper")
    code = f"print(open({str(place / 'img.jpg')!r}).read())"
    env = {**os.environ, "LD_PRELOAD": str(shim), "CASEFOLD": str(place)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "upper\n"


@pytest.mark.slow
def test_photos_whose_names_differ_in_case_alone_all_arrive(
    disk: tuple[Path, Callable[..., str]], tmp_path: Path, photo: Photo
) -> None:
    place, lorakit = disk
    names = ["a/IMG.JPG", "b/img.jpg", "c/Img.jpeg", "d/IMG.PNG"]
    for number, name in enumerate(names):
        photo(tmp_path / name, (90, 80), number, caption=f"fox {number}")
    sources = {(tmp_path / name).read_bytes() for name in names}
    data = place / "data"
    lorakit(*(("add", data, tmp_path / name, "--trigger", "fox") for name in names))
    there = {path.read_bytes() for path in (data / "originals").rglob("*.[jp]*g")}
    assert there == sources
    captions = [path.read_text() for path in sorted((data / "originals").rglob("*.txt"))]
    assert sorted(captions) == [f"fox {number}" for number in range(4)]
    said = lorakit(
        ("prepare", data, "--fit", "none", "--format", "png"),
        ("select", data, "--per-category", "9", "--to", place / "v2"),
    )
    assert "4 made, 0 unchanged, 0 kept, 0 refused" in said
    assert len(list(data.glob("10_fox/*.png"))) == 4
    assert "4 pictures, 4 of them" in said


@pytest.mark.slow
def test_a_trigger_in_other_letters_adds_to_the_folder_and_takes_nothing_away(
    disk: tuple[Path, Callable[..., str]], tmp_path: Path, photo: Photo
) -> None:
    place, lorakit = disk
    first = photo(tmp_path / "a/img.jpg", (90, 80), 1)
    second = photo(tmp_path / "b/IMG.jpg", (90, 80), 2)
    lorakit(
        ("add", place / "data", first, "--trigger", "fox"),
        ("prepare", place / "data", "--fit", "none"),
    )
    before = {path: path.read_bytes() for path in (place / "data/10_fox").iterdir()}
    lorakit(("add", place / "data", second, "--trigger", "FOX"), ("prepare", place / "data"))
    assert {path: path.read_bytes() for path in before} == before
    there = {path.read_bytes() for path in (place / "data/originals").rglob("*.jpg")}
    assert there == {first.read_bytes(), second.read_bytes()}


def test_folders_of_a_toml_whose_files_would_be_one_are_refused(
    disk: tuple[Path, Callable[..., str]], tmp_path: Path, photo: Photo
) -> None:
    place, lorakit = disk
    for number, name in enumerate(("a/img.jpg", "b/IMG.jpg")):
        photo(tmp_path / name, (90, 80), number)
    subsets = "".join(
        f'[[datasets.subsets]]\nimage_dir = "{tmp_path / one}"\nclass_tokens = "fox"\n'
        for one in "ab"
    )
    (tmp_path / "their.toml").write_text(f"[[datasets]]\n{subsets}")
    said = lorakit(("layout", place / "data", "--from-toml", tmp_path / "their.toml", "--write"))
    assert "would take the place of" in said
    assert not (place / "data/1_fox").exists()
