"""What the tests on the real sd-scripts share: questions to its own functions, drawn images, stand-in weights made once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from lorakit.rehearse import standin
from lorakit.trainers.kohya.locate import require

PROBE = Path(__file__).parent / "probe.py"


@pytest.fixture(scope="session")
def probes() -> Iterator[list[Popen[str]]]:
    """The probe, once somebody asks: it imports sd-scripts for seconds."""
    running: list[Popen[str]] = []
    yield running
    for one in running:
        one.kill()
        one.communicate()


@pytest.fixture
def put(
    sd_scripts: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    probes: list[Popen[str]],
) -> Any:
    """Put questions to sd-scripts' own functions, all in one child process of its own Python."""
    if not probes:
        folder = tmp_path_factory.mktemp("probe")
        words = [str(require().python), "-B", str(PROBE), str(sd_scripts)]
        with (folder / "log.txt").open("wb") as log:
            child = Popen(words, stdin=PIPE, stdout=log, stderr=log, cwd=folder, text=True)
        probes.append(child)

    def put_all(questions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        asked, answered = tmp_path / "questions.json", tmp_path / "questions.answers"
        asked.write_text(json.dumps(questions), encoding="utf-8")
        (child,) = probes
        assert child.stdin is not None
        print(asked, file=child.stdin, flush=True)
        until = time.monotonic() + 300
        while not answered.exists():
            assert child.poll() is None and time.monotonic() < until, "see the probe's log.txt"
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
        return found

    return put_all


@pytest.fixture(scope="session")
def stand_ins() -> Path:
    """The folder of stand-in weights in the user's real cache: 2 GB are made once, not for every test."""
    standin.stand_in("sd15")
    return standin.folder()


@pytest.fixture
def with_stand_ins(stand_ins: Path, own_home: Path) -> Path:
    """The test's own home finds the same stand-ins."""
    here = own_home / ".cache" / "lorakit" / "stand-ins"
    here.parent.mkdir(parents=True)
    here.symlink_to(stand_ins)
    return here
