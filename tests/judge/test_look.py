"""What drawn pictures add to a judgement: which cells, what is measured, what it costs, what is said."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.judge.score import seen_notes
from lorakit.runs.record import Judged, read_record
from lorakit.weights.safetensors import write

BOTH = {"maya": (60, 5), "maya-000002": (20, 15)}  # with the trigger, without


def judge(run_dir: Path, python: str, *words: str) -> int:
    said = ["judge", str(run_dir), "--python", python, "--pictures", "--strengths", "0.6,1.0"]
    return main([*said, *words])


def drawn(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "sheet").glob("*.png"))


@pytest.mark.slow
def test_the_shortlist_is_drawn_and_what_its_pictures_say_is_kept(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(judged_run, measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH)) == 0
    found = read_record(judged_run).judged
    cells = {(cell.label, cell.strength): cell.seen for cell in found.cells}
    assert [key for key, seen in cells.items() if seen] == [("final", 1.0), ("epoch 2", 1.0)]
    assert found.base is not None
    assert (found.base["with trigger"], found.base["variety"]) == (0, 1)
    final, early = cells["final", 1.0], cells["epoch 2", 1.0]
    assert final is not None
    assert early is not None
    assert final["with trigger"] > early["with trigger"] > early["without"] > final["without"] > 0
    said = capsys.readouterr()
    assert "1 is as far as two seeds of the base are apart" in said.out
    assert "checkpoint  strength  with trigger  without  variety  nearest  copies" in said.out
    assert "Drawing 48 pictures, about" in said.err


@pytest.mark.slow
def test_without_a_ranking_every_cell_that_is_not_broken_is_drawn(
    judged_run: Path, measurer: Any
) -> None:
    text = (judged_run / "dataset.toml").read_text()
    (judged_run / "dataset.toml").write_text(text.replace("validation_split = 0.25\n", ""))
    assert judge(judged_run, measurer(maya=0.9, maya_000002=-1.0, moves=BOTH)) == 0
    found = read_record(judged_run).judged
    assert [(cell.label, bool(cell.seen)) for cell in found.cells] == [
        ("epoch 2", True),
        ("epoch 2", True),
        ("final", False),
        ("final", False),
    ]


@pytest.mark.slow
def test_a_later_judgement_keeps_what_pictures_say_of_cells_that_are_unchanged(
    judged_run: Path, measurer: Any
) -> None:
    moves = {"maya": ([60, 90, 40], 5), "maya-000002": (20, 15)}
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=moves)
    assert judge(judged_run, python) == 0
    record = json.loads((judged_run / "record.json").read_text())
    for one in (
        record["judged"]["base"],
        *(c["seen"] for c in record["judged"]["cells"] if "seen" in c),
    ):
        one["likeness"] = 0.5  # as a model has said
    record["judged"]["models"] = {"likeness": "M"}
    (judged_run / "record.json").write_text(json.dumps(record))
    before = read_record(judged_run).judged
    again = ["judge", str(judged_run), "--python", python, "--strengths", "0.6,1.0"]
    assert main(again) == 0
    after = read_record(judged_run).judged
    assert replace(after, when="") == replace(before, when="")
    told = "likeness: mean cosine of the pictures with the trigger to the training pictures, by M."
    copies = "final at 1 draws pictures that it was trained on, nearly: 03.png."
    assert seen_notes(after) == [copies, told]
    assert main([*again, "--checkpoints", "final"]) == 0
    assert judge(judged_run, python) == 0  # a second look adds to what the model has said
    assert read_record(judged_run).judged.base == before.base
    lora = judged_run / "output" / "maya.safetensors"
    write(lora, {"a.lora_up.weight": ("F32", (1,))}, {}, [bytes([3] * 4)])
    assert main(again) == 0
    other = read_record(judged_run).judged
    assert {cell.label for cell in other.cells if cell.seen} == {"epoch 2"}
    assert other.base == before.base
    assert seen_notes(other) == [told]


def test_the_sheet_shares_these_pictures(judged_run: Path, measurer: Any) -> None:
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH)
    assert judge(judged_run, python) == 0
    before = drawn(judged_run)
    assert main(["sheet", str(judged_run), "--judged", "--python", python]) == 0
    assert drawn(judged_run) == before


def test_a_drawn_picture_that_is_one_of_the_training_is_named(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    moves = {"maya": ([60, 90, 40], 5), "maya-000002": (20, 15)}
    assert judge(judged_run, measurer(maya=-1.0, maya_000002=-1.0, moves=moves)) == 0
    found = read_record(judged_run).judged
    facts = {(cell.label, cell.strength): cell.seen for cell in found.cells}
    copy, own, base = facts["final", 1.0], facts["epoch 2", 1.0], found.base
    assert copy is not None
    assert own is not None
    assert base is not None
    assert (copy["nearest"], copy["variety"], own["variety"], base["variety"]) == (0, 0, 1, 1)
    assert (copy["copies"], own["copies"], base["copies"]) == (8, 0, 0)
    said = capsys.readouterr().out
    assert "final at 1 draws pictures that it was trained on, nearly: 03.png." in said


def test_the_cost_is_said_first_and_a_plan_draws_nothing(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH)
    assert judge(judged_run, python, "--plan") == 0
    # four prompts with the trigger, four without, at two seeds; one of them in 9 steps
    said = "Then 16 pictures of each cell in the shortlist: 876 forward passes a cell."
    assert said in capsys.readouterr().err
    assert not (judged_run / "sheet").exists()
    assert judge(judged_run, python) == 0
    assert len(drawn(judged_run)) == 48
    capsys.readouterr()
    assert judge(judged_run, python) == 0
    assert "Drawing" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_budget_that_ends_while_drawing_says_what_is_left(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH, columns=2)
    assert judge(judged_run, python, "--budget", "10m") == 0
    assert "16 pictures not drawn yet; run it again to go on." in capsys.readouterr().out
    order = json.loads((judged_run / "sheet" / "order.json").read_text())
    assert 0 < order["until"] - time.time() <= 600
    assert sum(bool(cell.seen) for cell in read_record(judged_run).judged.cells) == 1
    assert judge(judged_run, measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH)) == 0
    assert sum(bool(cell.seen) for cell in read_record(judged_run).judged.cells) == 2


def test_the_prompts_are_the_recipes_own_then_captions(judged_run: Path, measurer: Any) -> None:
    assert judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0, moves=BOTH)) == 0
    order = json.loads((judged_run / "sheet" / "order.json").read_text())
    jobs = order["columns"][0]["pictures"]
    said = [job["prompt"] for job in jobs]
    assert (said[:2], len(said)) == (["maya, portrait"] * 2, 16)
    assert all(prompt.startswith("maya, number") for prompt in said[2:8])
    assert said[8:10] == ["a red car"] * 2
    assert not any("maya" in prompt for prompt in said[8:])


def test_a_record_without_pictures_reads_and_is_written_as_it_was() -> None:
    old = {"held_out": 5, "cells": [{"checkpoint": "a", "verdict": "listed"}]}
    written = Judged.from_json(old).to_json()
    assert not {"base"} & written.keys()
    assert "seen" not in written["cells"][0]


@pytest.mark.slow
def test_a_training_picture_that_is_broken_by_now_is_named(
    judged_run: Path, measurer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=BOTH)
    broken = tmp_path / "datasets" / "8_maya" / "00.png"
    data = broken.read_bytes()
    broken.write_bytes(data[:45] + b"spoiled" + data[52:])
    assert judge(judged_run, python) == 1
    said = capsys.readouterr().err
    assert f"{broken}: cannot be decoded" in said
    assert "One that lorakit drew may be removed" in said
    assert read_record(judged_run).judged.listed, "what was measured is kept"
    broken.write_bytes(data)
    assert judge(judged_run, python) == 0
