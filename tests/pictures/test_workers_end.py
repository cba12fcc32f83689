"""Workers end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from drawings import drawing
from pace import PATIENCE_S, until


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, base = tmp_path_factory.mktemp("photos"), drawing((1400, 1200))
    for index in range(60):
        base.crop((index, 0, 1300 + index, 1200)).save(folder / f"{index:02}.jpg")
    return folder


def alive(people: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in people if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("add", signal.SIGKILL),
        *(("prepare", one) for one in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)),
        ("rank", signal.SIGKILL),
    ],
)
def test_no_worker_outlives_its_command(
    command: str, number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    words = {
        "add": ["add", str(tmp_path / "data"), str(photos)],
        "prepare": ["prepare", str(tmp_path / "data"), "--from", str(photos)],
        "rank": ["rank", str(photos)],
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "lorakit", "dataset", *words[command]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parent = psutil.Process(child.pid)
    until(lambda: len(parent.children(recursive=True)) >= 2)  # resource tracker and a worker
    people = parent.children(recursive=True)
    os.kill(child.pid, number)
    child.wait(PATIENCE_S)
    until(lambda: not alive(people))
