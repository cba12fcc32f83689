"""Kill -9 in the middle of add and prepare, six times each: no original changed, no half file, and a rerun completes."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawings import drawing
from pace import until
from PIL import Image

pytestmark = pytest.mark.slow
KILLS = 4  # that found it running, of at most 20 tries; `make attack` has more


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    base = [drawing((900, 700), seed) for seed in range(5)]
    for index in range(30):
        image = base[index % 5].crop((index, 0, 800 + index, 700))
        image.save(folder / f"{index:02}.jpg", quality=90)
        (folder / f"{index:02}.txt").write_text(f"qb_fox, number {index}", encoding="utf-8")
    return folder


def killed_after(words: list[str], delay: float) -> bool:
    """Start the command in a group of its own, kill the whole group after `delay`; whether it was still running."""
    child = subprocess.Popen(
        [sys.executable, "-m", "lorakit", "dataset", *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    running = child.poll() is None
    if running:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return running


def whole(words: list[str]) -> float:
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "lorakit", "dataset", *words], check=True, capture_output=True
    )
    return time.monotonic() - start


def assert_all_decode(folder: Path) -> None:
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()


def test_add_survives_kills(photos: Path, tmp_path: Path) -> None:
    source = tree(photos)
    words = ["add", str(tmp_path / "data"), str(photos), "--repeats", "5", "--trigger", "qb_fox"]
    length = whole(["add", str(tmp_path / "probe"), *words[2:]])
    rng = random.Random(1)
    kills = tries = 0
    while kills < KILLS and tries < 20:
        landed, tries = killed_after(words, rng.uniform(0.3, 1.0) * length), tries + 1
        kills, length = kills + landed, length if landed else 0.8 * length  # sooner next time
    folder = tmp_path / "data/originals/qb_fox"
    if folder.exists():
        assert_all_decode(folder)
    whole(words)
    assert kills >= 3
    assert tree(photos) == source
    assert tree(folder) == source
    assert not list(tmp_path.rglob(".adding.*"))


def test_prepare_survives_kills(photos: Path, tmp_path: Path) -> None:
    root, probe = tmp_path / "data", tmp_path / "probe"
    for place in (root, probe):
        whole(["add", str(place), str(photos), "--repeats", "5", "--trigger", "qb_fox"])
    originals = tree(root / "originals")
    words = [
        "prepare",
        str(root),
        "--fit",
        "letterbox",
        "--size",
        "512",
        "--format",
        "png",
        "--yes",
    ]
    length = whole(["prepare", str(probe), *words[2:]])
    rng = random.Random(2)
    kills = 0
    for turn in range(20):
        size = str(
            448 + 64 * (turn % 3)
        )  # other settings each time: every file is made anew, over the old one
        landed = killed_after(
            [
                "prepare",
                str(root),
                "--fit",
                "letterbox",
                "--size",
                size,
                "--format",
                "png",
                "--yes",
            ],
            rng.uniform(0.2, 1.0) * length,
        )
        kills, length = kills + landed, length if landed else 0.8 * length  # sooner next time
        for path in root.glob("5_qb_fox/*.png"):
            with Image.open(path) as image:
                image.load()
        if kills == KILLS:
            break
    whole(words)
    assert kills >= 3
    assert tree(root / "originals") == originals
    assert tree(root / "5_qb_fox") == tree(probe / "5_qb_fox")
    assert not list(root.rglob("*.tmp"))


def test_ctrl_c_at_any_moment_says_one_word_and_leaves_no_half_file(
    photos: Path, tmp_path: Path
) -> None:
    stopped = 0
    for turn in range(6):
        words = [
            "prepare",
            str(tmp_path / "data"),
            "--from",
            str(photos),
            "--fit",
            "letterbox",
            "--size",
            str(256 + 64 * (turn % 2)),
            "--yes",
        ]
        child = subprocess.Popen(
            [sys.executable, "-m", "lorakit", "dataset", *words],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: _workers(child.pid) or child.poll() is not None)  # noqa: B023 (called at once)
        time.sleep(0.16 * turn)  # from the first breath of its workers on
        os.killpg(child.pid, signal.SIGINT)
        said = child.communicate(timeout=60)[1].strip()
        if child.returncode == 130:
            stopped += 1
            assert said == "Stopped."
        else:  # it was done already, if only just
            assert child.returncode in {0, -signal.SIGINT}
            done = re.match(r"(\d+) made, (\d+) unchanged", said)
            assert done, said
            assert int(done[1]) + int(done[2]) == 30
        assert not list(tmp_path.rglob("*.tmp"))
    assert stopped >= 2


def _workers(parent: int) -> bool:
    """Whether it has begun to start children, of which the first is no worker."""
    return len(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()) > 1
