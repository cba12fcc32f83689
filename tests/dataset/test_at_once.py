"""Two commands on one dataset at the same moment: real processes, two trials each, nothing lost."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawings import Photo, drawing
from pace import PATIENCE_S, until
from PIL import Image

from lorakit.cli.main import main
from lorakit.dataset.build.manifest import read_arrangement
from lorakit.dataset.lock import hold_dataset

TRIALS = 2


def dataset(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lorakit", "dataset", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_once(*commands: tuple[object, ...]) -> list[str]:
    """What they said; both must end well."""
    running = [dataset(*words) for words in commands]
    said = [one.communicate(timeout=120)[1] for one in running]
    assert [one.returncode for one in running] == [0] * len(commands), said
    return said


@contextmanager
def held(root: Path, command: str) -> Iterator[None]:
    """By somebody else: in a thread of its own, because who has the lock may take it again."""
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_dataset(root, command, wait_s=0):
            taken.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        over.set()
        holder.join()


def digests(folder: Path, pattern: str = "*") -> set[str]:
    return {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob(pattern)
        if path.is_file()
    }


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both number their pictures alike."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    base = drawing((200, 200))
    for number, folder in enumerate(folders):
        for index in range(11):
            image = base.crop((index, number, 120 + index, 120 + number))
            image.save(folder / f"img_{index:02}.png")
            (folder / f"img_{index:02}.txt").write_text(f"fox {number} {index}\n")
    return folders


@pytest.mark.slow
def test_two_adds_lose_no_photo(two_cameras: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "data"
    at_once(*(("add", root, folder, "--trigger", "fox") for folder in two_cameras))
    wanted = set.union(*map(digests, two_cameras))
    assert len(wanted) == 44
    assert digests(root / "originals/fox") == wanted
    for picture in (root / "originals/fox").glob("*.png"):
        assert picture.with_suffix(".txt").is_file()


PAUSED = """import sys, time
from pathlib import Path
from lorakit.cli.main import main
from lorakit.dataset.build import originals

own = originals.arrange

def arrange(root, wanted):
    Path("here").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    own(root, wanted)

originals.arrange = arrange
sys.exit(main(["dataset", "add", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_two_adds_lose_no_subset(two_cameras: list[Path], tmp_path: Path) -> None:
    """The first is held back when it has read which subsets there are and not yet written its own."""
    root = tmp_path / "data"
    fox, cat = (
        [str(root), str(folder), "--trigger", trigger, "--repeats", repeats]
        for folder, trigger, repeats in zip(two_cameras, ("fox", "cat"), "37", strict=True)
    )
    first = subprocess.Popen([sys.executable, "-c", PAUSED, *fox], cwd=tmp_path)
    until((tmp_path / "here").exists)
    second = dataset("add", *cat)
    assert second.stderr is not None
    if "waiting for lorakit dataset add" not in second.stderr.readline():
        second.wait(PATIENCE_S)  # it did not wait for the first
    (tmp_path / "go").touch()
    second.communicate(timeout=PATIENCE_S)
    assert (first.wait(PATIENCE_S), second.returncode) == (0, 0)
    found = read_arrangement(root).subsets
    assert {name: one.repeats for name, one in found.items()} == {"fox": 3, "cat": 7}


@pytest.mark.slow
def test_two_prepares_make_every_file_and_remember_it(
    two_cameras: list[Path], tmp_path: Path
) -> None:
    for trial in range(TRIALS):
        root = tmp_path / f"data{trial}"
        assert main(["dataset", "add", str(root), str(two_cameras[0]), "--trigger", "fox"]) == 0
        at_once(("prepare", root, "--no-sheet"), ("prepare", root, "--no-sheet"))
        made = sorted(path.name for path in (root / "10_fox").glob("*.jpg"))
        assert len(made) == 11
        assert len(list((root / "10_fox").glob("*.txt"))) == 11
        kept = json.loads((root / ".lorakit/prepared.json").read_text())["files"]
        assert sorted(Path(name).name for name in kept) == made
        assert not list(root.rglob("*.tmp"))
        for path in (root / "10_fox").glob("*.jpg"):
            with Image.open(path) as image:
                image.load()


@pytest.mark.slow
def test_two_caption_edits_are_both_there_and_both_in_the_history(
    photo: Photo, tmp_path: Path
) -> None:
    for trial in range(TRIALS):
        root = tmp_path / f"data{trial}"
        for number in range(40):
            photo(root / f"10_fox/{number:02}.png", (64, 64), number, caption=f"fox, {number}")
        at_once(*(("caption", root, "--add", tag, "--write") for tag in ("red", "sitting")))
        for path in (root / "10_fox").glob("*.txt"):
            assert {"red", "sitting"} <= set(path.read_text().strip().split(", ")), path
        steps = (root / ".lorakit/captions.jsonl").read_text().splitlines()
        assert len(steps) == 2


@pytest.mark.slow
def test_the_second_waits_and_says_for_whom(photo: Photo, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    root = tmp_path / "data"
    with held(root, "prepare"):
        child = dataset("add", root, tmp_path / "a.png", "--trigger", "fox")
        assert child.stderr is not None
        line = child.stderr.readline()
        assert line.startswith("waiting for lorakit dataset prepare (pid ")
        assert line.endswith(")...\n")
        time.sleep(0.3)
        assert not (root / "originals").exists()
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 0
    assert "1 image copied" in said
    assert "waiting" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("add", "DATA", "PHOTO"),
        ("prepare", "DATA"),
        ("caption", "DATA", "--trigger-first", "--write"),
        ("caption", "DATA", "--undo"),
        ("layout", "DATA", "--repeats", "fox=3", "--write"),
        ("layout", "DATA", "--undo"),
        ("rank", "DATA"),
        ("select", "DATA", "--per-category", "1"),
    ],
    ids=" ".join,
)
def test_no_wait_ends_at_once_with_code_1(
    words: tuple[str, ...], photo: Photo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, picture = tmp_path / "data", photo(tmp_path / "a.png")
    assert main(["dataset", "add", str(root), str(picture), "--trigger", "fox"]) == 0
    assert main(["dataset", "prepare", str(root), "--no-sheet"]) == 0
    names = {"DATA": str(root), "PHOTO": str(picture)}
    before = digests(root)
    capsys.readouterr()
    with held(root, "add"):
        assert main(["dataset", *(names.get(word, word) for word in words), "--no-wait"]) == 1
    err = capsys.readouterr().err
    assert "lorakit dataset add (pid " in err
    assert "nothing was done" in err
    assert digests(root) == before


def test_looking_needs_no_turn(photo: Photo, tmp_path: Path) -> None:
    root = tmp_path / "data"
    photo(root / "10_fox/a.png", caption="fox")
    with held(root, "add"):
        for words in (
            ["caption", str(root), "--trigger-first", "--no-wait"],
            ["layout", str(root), "--no-wait"],
            ["rank", str(root), "--dry-run", "--no-wait"],
            ["stats", str(root)],
        ):
            assert main(["dataset", *words]) == 0


def test_the_lock_is_neither_seen_by_the_scan_nor_bundled(photo: Photo, tmp_path: Path) -> None:
    root, picture = tmp_path / "data", photo(tmp_path / "a.png")
    assert main(["dataset", "add", str(root), str(picture), "--trigger", "fox"]) == 0
    assert main(["dataset", "prepare", str(root), "--no-sheet"]) == 0
    assert sorted(path.name for path in root.iterdir()) == [
        *(".lorakit", "10_fox", "originals"),
        "prepare.toml",
    ]
    assert [path.name for path in (root / "10_fox").iterdir()] == ["a.jpg"]
