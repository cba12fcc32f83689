"""The registry, over runs of the stand-in trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.errors import LorakitError, RecipeError
from lorakit.plan.model import Plan
from lorakit.run.train import train
from lorakit.runs import registry
from lorakit.runs.registry import Row

MakePlan = Callable[..., Plan]


@pytest.fixture
def runs(make_plan: MakePlan, project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(project)
    plans = [
        make_plan(run="20260101-120000"),
        make_plan(run="20260102-120000"),
        make_plan("no_images.py", run="20260103-120000"),
    ]
    for plan in plans:
        train(plan)
    return [plan.run_dir for plan in plans]


def test_only_runs_that_made_a_lora_are_listed_and_the_later_names_the_earlier(
    runs: list[Path], project: Path
) -> None:
    rows, changed = registry.update(project)
    assert changed
    assert [row.run for row in rows] == ["fox/20260101-120000", "fox/20260102-120000"]
    assert rows[1].origin == "after fox/20260101-120000"
    assert (rows[0].steps, rows[0].images, rows[0].base) == ("4", "1", "base.safetensors")
    assert registry.update(project) == (rows, False)


def test_the_last_validation_loss_is_told(
    make_plan: MakePlan, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    for number, held_back in enumerate(("0.21", "nan")):
        train(make_plan(run=f"2026010{number}-120000", env={"VALIDATION": held_back}))
    assert [row.validation for row in registry.update(project)[0]] == ["0.21", ""]


def test_what_people_write_into_the_table_and_around_it_stays(
    runs: list[Path], project: Path
) -> None:
    registry.update(project)
    path = project / registry.FILE
    text = path.read_text()
    lines = [
        line[:-4] + "| red \\| better |" if line.startswith("| fox/20260101") else line
        for line in text.splitlines()
    ]
    path.write_text("My own words above.\n" + "\n".join(lines) + "\nAnd below.\n")
    registry.add_note(runs[0], "noted later", rating=4)
    rows, _ = registry.update(project)
    assert rows[0].notes == "red | better; noted later"
    assert rows[0].rating == "4"
    after = path.read_text()
    assert after.startswith("My own words above.\n") and after.endswith("And below.\n")
    assert registry.update(project) == (rows, False)


def test_a_row_outlives_its_run_folder(runs: list[Path], project: Path) -> None:
    before, _ = registry.update(project)
    for path in sorted(runs[0].rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    runs[0].rmdir()
    assert registry.update(project)[0][0] == before[0]


def test_a_broken_row_is_named_by_its_line_and_nothing_is_rewritten(
    runs: list[Path], project: Path
) -> None:
    registry.update(project)
    path = project / registry.FILE
    broken = path.read_text().replace("| fox/20260102-120000 |", "fox |")
    path.write_text(broken.replace("| fox |", "", 1))
    text = path.read_text()
    with pytest.raises(RecipeError, match=r"REGISTRY\.md:\d+ has \d+ cells"):
        registry.update(project)
    assert path.read_text() == text


def test_a_page_without_our_marks_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / registry.FILE).write_text("my page\n")
    with pytest.raises(RecipeError, match="left as it is"):
        registry.update(tmp_path)


def test_notes_by_command_reach_the_table(
    runs: list[Path], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "note",
                "fox/20260101-120000",
                "sharp eyes",
                "--chosen",
                "fox.safetensors",
                "--strength",
                "0.8",
                "--rating",
                "5",
            ]
        )
        == 0
    )
    assert main(["registry"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "20260101" in line)
    assert "sharp eyes" in row and "0.8" in row
    assert main(["note", "fox/20260101-120000", "--chosen", "other.safetensors"]) == 1
    assert "There are fox.safetensors." in capsys.readouterr().err
    assert main(["note", "fox"]) == 1


def test_a_text_may_stand_after_the_options(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["note", str(runs[0]), "--rating", "4", "the ears are good"]) == 0


def test_notes_edited_into_nonsense_are_told_and_kept(runs: list[Path]) -> None:
    (runs[0] / "notes.json").write_text("{")
    with pytest.raises(LorakitError, match="left as they are"):
        registry.add_note(runs[0], "x")
    assert (runs[0] / "notes.json").read_text() == "{"


def test_a_row_reads_back_as_it_was_written() -> None:
    row = Row("a/1", notes="x | y; a \\ b", name="ü")
    assert registry.parse(registry.rendered("", [row])) == [row]
