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
        answer = ask([str(require().python), "-B", str(PROBE), str(sd_scripts), str(asked), str(answered)], timeout_s=300, cwd=tmp_path)
        assert answer.code == 0, answer.err[-3000:]
        found: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
        return found

    return put_all


def draw(folder: Path, sizes: list[tuple[int, int]], *, caption: str | None = "ball, drawn") -> None:
    """A folder of drawn images, each with a caption file."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        picture = Image.new("RGB", (width, height), (40 + 20 * number % 200, 120, 200))
        ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(250, 200, 20))
        picture.save(folder / f"{number:03}.png")
        if caption is not None:
            (folder / f"{number:03}.txt").write_text(caption, encoding="utf-8")


@pytest.fixture(scope="session")
def stand_ins() -> Path:
    """The folder of stand-in weights in the user's real cache: 2 GB are made once, not for every test."""
    standin.stand_in("sd15")
    standin.tokenizers()
    return standin.folder()


@pytest.fixture
def with_stand_ins(stand_ins: Path, own_home: Path) -> Path:
    """The test's own home finds the same stand-ins."""
    here = own_home / ".cache" / "lorakit" / "stand-ins"
    here.parent.mkdir(parents=True)
    here.symlink_to(stand_ins)
    return here
