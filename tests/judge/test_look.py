"""What drawn pictures add to a judgement: which cells, what is measured, what it costs, what is said."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.runs.record import Judged, read_record

BOTH = {"maya": (60, 5), "maya-000002": (20, 15)}  # with the trigger, without


def judge(run_dir: Path, python: str, *words: str) -> int:
    said = ["judge", str(run_dir), "--python", python, "--pictures", "--strengths", "0.6,1.0"]
    return main([*said, *words])


def drawn(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "sheet").glob("*.png"))


def test_the_list_is_filled_with_the_cells_that_move_most_with_the_trigger_against_the_others(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)) == 0
    found = read_record(judged_run).judged
    cells = [(cell.label, cell.strength, cell.verdict) for cell in found.cells]
    assert cells == [
        ("epoch 2", 1.0, "listed"),
        ("final", 1.0, "pictured"),
        ("final", 0.6, "pictured"),
        ("epoch 2", 0.6, "pictured"),
    ]
    assert [len(found.listed), len(found.shortlist), found.winner] == [1, 4, None]
    best = found.cells[1].seen
    assert best is not None
    assert best["with trigger"] > best["without"] > 0
    said = capsys.readouterr()
    assert "Listed for their pictures: final at 1, final at 0.6, epoch 2 at 0.6." in said.out
    assert "checkpoint  strength  with trigger  without  variety  nearest  copies" in said.out
    assert "--judged" in said.err


def test_more_than_six_are_not_listed(judged_run: Path, measurer: Any) -> None:
    python = measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)
    said = ["judge", str(judged_run), "--python", python, "--pictures"]
    assert main(said) == 0
    found = read_record(judged_run).judged
    assert len(found.shortlist) == 6
    assert [cell.verdict for cell in found.cells].count("behind") == 4


def test_a_broken_cell_is_neither_drawn_nor_listed(judged_run: Path, measurer: Any) -> None:
    assert judge(judged_run, measurer(maya=0.9, maya_000002=-1.0, moves=BOTH)) == 0
    found = read_record(judged_run).judged
    broken = [cell for cell in found.cells if cell.verdict == "broken"]
    assert [cell.seen for cell in broken] == [None, None]
    assert {cell.label for cell in found.shortlist} == {"epoch 2"}


def test_without_a_ranking_pictures_alone_make_the_list(judged_run: Path, measurer: Any) -> None:
    text = (judged_run / "dataset.toml").read_text()
    (judged_run / "dataset.toml").write_text(text.replace("validation_split = 0.25\n", ""))
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)) == 0
    found = read_record(judged_run).judged
    assert (found.shortlist[0].label, found.shortlist[0].verdict) == ("final", "pictured")


def test_a_drawn_picture_that_is_one_of_the_training_is_named(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    moves = {"maya": ([60, 90, 40], 5), "maya-000002": (20, 15)}
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=moves)) == 0
    found = read_record(judged_run).judged
    facts = {(cell.label, cell.strength): cell.seen for cell in found.cells}
    copy, own, base = facts["final", 1.0], facts["epoch 2", 1.0], found.base
    assert copy is not None
    assert own is not None
    assert base is not None
    assert (copy["nearest"], copy["variety"], own["variety"], base["variety"]) == (0, 0, 1, 1)
    assert (copy["copies"], own["copies"], base["copies"]) == (12, 0, 0)
    said = capsys.readouterr().out
    assert "Drawn pictures that nearly are one it was trained on: " in said
    assert "final at 1 (12, the nearest to 03.png)." in said


def test_the_cost_is_said_first_and_a_plan_draws_nothing(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)
    assert judge(judged_run, python, "--plan") == 0
    # four prompts with the trigger at three seeds, eight without; base and four cells; 8 steps
    said = "100 pictures to draw, at most 3 min by this run's pace."
    assert said in capsys.readouterr().err
    assert not (judged_run / "sheet").exists()
    assert judge(judged_run, python) == 0
    assert len(drawn(judged_run)) == 100
    capsys.readouterr()
    assert judge(judged_run, python) == 0
    assert "0 pictures to draw." in capsys.readouterr().err


def test_a_budget_that_ends_while_drawing_says_what_is_left(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH, columns=2)
    assert judge(judged_run, python, "--budget", "10m") == 0
    assert "60 pictures not drawn yet; run it again to go on." in capsys.readouterr().out
    order = json.loads((judged_run / "sheet" / "order.json").read_text())
    assert 0 < order["until"] - time.time() <= 600
    found = read_record(judged_run).judged
    assert sum(cell.seen is not None for cell in found.cells) == 1
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)) == 0
    assert all(cell.seen for cell in read_record(judged_run).judged.cells)


def test_the_prompts_are_the_recipes_own_then_captions(judged_run: Path, measurer: Any) -> None:
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)) == 0
    order = json.loads((judged_run / "sheet" / "order.json").read_text())
    jobs = order["columns"][0]["pictures"]
    said = [job["prompt"] for job in jobs]
    assert (said[:3], len(said)) == (["maya, portrait"] * 3, 20)
    assert all(prompt.startswith("maya, number") for prompt in said[3:12])
    assert not any("maya" in prompt for prompt in said[12:])
    assert {job["steps"] for job in jobs} == {8}


def test_a_record_without_pictures_reads_and_is_written_as_it_was() -> None:
    old = {"held_out": 5, "cells": [{"checkpoint": "a", "verdict": "listed"}]}
    written = Judged.from_json(old).to_json()
    assert not {"base"} & written.keys()
    assert "seen" not in written["cells"][0]
