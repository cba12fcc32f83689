"""Runs that an earlier lorakit left behind (tests/golden/old_runs: one done, one stopped) are read, verified
and resumed by this one. Paths in them are {PLACEHOLDERS}; the earlier trainer's script is gone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.proof.verify import verify_run
from lorakit.run.resume.next_command import newest_state, next_command
from lorakit.run.resume.resume import job_of_record
from lorakit.run.resume.stages import resume_run
from lorakit.runs.find import info
from lorakit.runs.ledger import Ledger
from lorakit.runs.record import read_record
from lorakit.runs.registry import rows_of_runs

HERE = Path(__file__).parents[2]
DONE, STOPPED = "20260101-120000", "20260102-120000"


@pytest.fixture
def runs(tmp_path: Path, python_at_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(HERE / "tests/golden/old_runs", tmp_path, dirs_exist_ok=True)
    shutil.copytree(HERE / "recipes/demo/base", tmp_path / "recipes/demo/base")
    filled = {
        "{PROJECT}": str(tmp_path),
        "{LORAKIT}": str(tmp_path),
        "{OLD}": str(tmp_path / "gone"),
        "{PYTHON}": str(python_at_once),
    }
    for path in (tmp_path / "runs").rglob("*.*"):
        if path.suffix in {".json", ".toml"}:
            text = path.read_text()
            for word, value in filled.items():
                text = text.replace(word, value)
            path.write_text(text)
    for path in (tmp_path / "runs").rglob("record.json"):
        data = json.loads(path.read_text())
        for name in data["files"]:
            content = (path.parent / name).read_bytes()
            data["files"][name] = hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(data))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "tiny"


def test_old_runs_are_listed_with_what_they_became(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [info(runs / name) for name in (DONE, STOPPED)]
    assert [(row.state, row.step, row.total) for row in rows] == [
        ("done", 12, 12),
        ("stopped", 11, 36),
    ]
    assert [(row.run, row.steps, row.base) for row in rows_of_runs(runs.parents[1])] == [
        (f"tiny/{DONE}", "12", "base")
    ]
    assert main(["runs"]) == main(["registry"]) == main(["report", f"tiny/{DONE}"]) == 0
    assert f"lorakit resume tiny/{STOPPED}" in capsys.readouterr().err
    assert "</html>" in (runs / DONE / "report.html").read_text()


def test_an_old_run_verifies(runs: Path) -> None:
    assert [str(one) for one in verify_run(runs / DONE)] == []


def test_an_old_record_changed_by_this_lorakit_loses_nothing(runs: Path) -> None:
    for name in (DONE, STOPPED):
        before = json.loads((runs / name / "record.json").read_text())
        Ledger(runs / name).save()
        after = json.loads((runs / name / "record.json").read_text())
        assert list(lost(before, after)) == []


def lost(before: object, after: object, place: str = "") -> list[str]:
    """What differs, but for null and zero, which may be left out."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before if before[key] not in (None, 0, [0, 0])]
        return [one for key in keys for one in lost(before[key], after.get(key), f"{place}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [one for pair in pairs for one in lost(*pair, place)]
    return [] if before == after else [f"{place}: {before} became {after}"]


def test_an_old_run_can_go_on_although_the_script_has_moved(runs: Path) -> None:
    record = read_record(runs / STOPPED)
    assert newest_state(runs / STOPPED, record).step == 11
    assert next_command(runs / STOPPED, record) == f"lorakit resume tiny/{STOPPED}"
    (command,) = job_of_record(record).commands
    (script,) = (word for word in command.argv if word.endswith("network.py"))
    assert Path(script).is_file()
    assert record.trainer.script and not Path(record.trainer.script).exists()


@pytest.mark.slow
def test_an_old_run_is_resumed_to_its_end(runs: Path) -> None:
    outcome = resume_run(runs / STOPPED)
    assert (outcome.state, outcome.ending.step) == ("done", 36), outcome
    assert read_record(runs / STOPPED).parts[0].from_step == 11
