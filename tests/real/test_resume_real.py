"""A real sd-scripts run, killed, resumed, stopped and resumed again, laid over the same run left in peace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lorakit.proc import ask
from lorakit.report.series import read_numbers
from lorakit.runs.find import run_dirs
from lorakit.runs.record import read_record

pytestmark = [pytest.mark.real, pytest.mark.slow]
TOOL = Path(__file__).resolve().parents[2] / "tools" / "prove_resume.py"


@pytest.mark.usefixtures("sd_scripts", "with_stand_ins")
def test_the_learning_rate_is_the_same_at_every_step_and_so_are_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "proof"
    answer = ask([sys.executable, str(TOOL), "--keep", str(folder)], timeout_s=7200, cwd=tmp_path)
    assert answer.code == 0, answer.out + answer.err
    peace, other = run_dirs(folder)
    assert [part.from_step for part in read_record(other).parts] == [
        8,
        12,
    ]  # between two epochs, and inside one
    expected, losses = (
        dict(read_numbers(run_dir, read_record(run_dir)).loss) for run_dir in (peace, other)
    )
    assert all(losses[step] == expected[step] for step in range(1, 9))
    assert losses[10] == pytest.approx(
        expected[10], rel=0.01
    )  # random states restored; only the first batch was another one
    assert sum(losses.values()) == pytest.approx(sum(expected.values()), rel=0.15)
