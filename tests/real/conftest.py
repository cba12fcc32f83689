"""What the tests on the real sd-scripts share: questions to its own functions, drawn images, stand-in weights made once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lorakit.proc import ask
from lorakit.rehearse import standin
from lorakit.trainers.kohya.locate import require

PROBE = Path(__file__).parent / "probe.py"


@pytest.fixture
def put(sd_scripts: Path, tmp_path: Path) -> Any:
    """Put questions to sd-scripts' own functions, all in one child process of its own Python."""

    def put_all(questions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        asked, answered = tmp_path / "questions.json", tmp_path / "answers.json"
        asked.write_text(json.dumps(questions), encoding="utf-8")
        answer = ask(
            [str(require().python), "-B", str(PROBE), str(sd_scripts), str(asked), str(answered)],
            timeout_s=300,
            cwd=tmp_path,
        )
        assert answer.code == 0, answer.err[-3000:]
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
