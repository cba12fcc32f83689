"""`lorakit judge` from a run's folder to its record: what is asked of the child, what is kept, what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.cli.terminal.next_step import next_for_run
from lorakit.judge.make import inquire
from lorakit.runs.record import read_record


def judge(run_dir: Path, python: str, *words: str) -> int:
    return main(["judge", str(run_dir), "--python", python, *words])


def asked(tmp_path: Path) -> list[list[str]]:
    return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]


def test_the_pictures_that_the_run_held_out_are_measured_and_no_others(judged_run: Path) -> None:
    order = inquire(judged_run).order
    held, train = ({Path(one["file"]).name for one in order[kind]} for kind in ("held", "train"))
    assert (len(held), len(train), held & train) == (3, 9, set())
    assert order["held"][0]["caption"].startswith("maya, number ")
    from lorakit.dataset.split import hold_out

    assert held == set(hold_out([f"{n:02d}.png" for n in range(12)], 0.25, 7)[1])


def test_a_picture_that_kohyas_rounding_puts_into_both_parts_is_not_held_out(
    judged_run: Path,
) -> None:
    text = (judged_run / "dataset.toml").read_text()
    (judged_run / "dataset.toml").write_text(text.replace("0.25", "0.22"))
    counts = []
    for trainer in ("embedded", "kohya"):
        record = json.loads((judged_run / "record.json").read_text())
        record["trainer"]["name"] = trainer
        (judged_run / "record.json").write_text(json.dumps(record))
        counts.append(len(inquire(judged_run).order["held"]))
    assert counts == [2, 2]  # kohya validates on three, one of which it trains on


def test_the_base_draws_prompts_without_the_trigger(judged_run: Path) -> None:
    prompts = [job["prompt"] for job in inquire(judged_run).order["drawn"]]
    assert prompts[0] == "a red car"
    assert len(prompts) == 12
    assert not any("maya" in prompt for prompt in prompts)
    own = inquire(judged_run, controls=("a boat",)).order["drawn"]
    assert [job["prompt"] for job in own] == ["a boat"]


def test_the_cost_is_said_before_anything_is_measured(
    judged_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(judged_run), "--strengths", "0.8,1", "--plan"]) == 0
    # base 12 x 3 + 12 x 2, four cells of 3 x 3 + 12 x 2, two of them 9 x 3 more, twelve drawn
    passes = 12 * 3 + 24 + 4 * (9 + 24) + 2 * 27 + 2 * (12 * 20)
    said = capsys.readouterr().err
    assert "4 cells of checkpoint x strength, 3 held-out pictures, 12 drawn by the base" in said
    assert f"{passes} forward passes, about 1 min by this run's pace." in said
    assert not read_record(judged_run).judged.cells
    assert not (judged_run / "judge").exists()


def test_one_cell_alone_is_not_said_to_be_compared_with_others(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0)
    assert judge(judged_run, python, "--checkpoints", "last", "--strengths", "1") == 0
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith("Shortlist: 1 of 1 cell. final at 1: its loss on held-out pictures is")
    assert said.endswith("below the base's.")


def test_the_judgement_is_printed_and_kept_in_the_record(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-0.2)
    assert judge(judged_run, python, "--strengths", "0.6,1.0") == 0
    said = capsys.readouterr()
    assert "The one cell with the lowest loss for certain: final at 1" in said.out
    assert "Next: lorakit sheet maya/20260101-120000 --judged" in said.err
    found = read_record(judged_run).judged
    assert found.winner is not None
    assert (found.winner.checkpoint, found.winner.strength) == ("maya.safetensors", 1.0)
    assert found.held_out == 3
    assert [cell.verdict for cell in found.cells] == ["listed", "behind", "behind", "behind"]


def test_the_strength_that_is_proposed_after_the_sheet_is_one_that_was_listed(
    judged_run: Path, measurer: Any
) -> None:
    said, _ = next_for_run(judged_run, after="sheet")
    assert said.endswith("--chosen maya.safetensors --strength 0.8")
    judge(judged_run, measurer(maya=-1.0, maya_000002=-0.2), "--strengths", "0.6,1.0")
    said, _ = next_for_run(judged_run, after="sheet")
    assert said.endswith("--chosen maya.safetensors --strength 1")


def test_a_run_without_regularisation_pictures_is_told_what_losses_do_not_see(
    judged_run: Path, measurer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-0.2)
    judge(judged_run, python, "--strengths", "1.0")
    assert "look at lower strengths than those listed" in capsys.readouterr().out
    shutil.copytree(tmp_path / "datasets" / "8_maya", tmp_path / "reg" / "1_other")
    subset = f'\n[[datasets.subsets]]\nimage_dir = "{tmp_path}/reg/1_other"\nis_reg = true\n'
    with (judged_run / "dataset.toml").open("a") as file:
        file.write(subset)
    judge(judged_run, python, "--strengths", "1.0")
    assert "look at lower strengths" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(
    judged_run: Path, measurer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-0.2)
    judge(judged_run, python, "--strengths", "1.0")
    capsys.readouterr()
    judge(judged_run, python, "--strengths", "1.0")
    assert "12 drawn by the base: measured before." in capsys.readouterr().err
    judge(judged_run, python, "--strengths", "0.6,1.0")
    assert list(map(len, asked(tmp_path))) == [2, 2]
    (results,) = (judged_run / "judge").glob("*.jsonl")
    results.write_bytes(results.read_bytes()[:-9])  # a kill in the middle of a line
    judge(judged_run, python, "--strengths", "0.6,1.0")
    assert list(map(len, asked(tmp_path))) == [2, 2, 1]


def test_a_budget_that_ends_early_judges_what_there_is_and_says_what_is_left(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-0.2, most=3)
    assert judge(judged_run, python, "--strengths", "0.6,1.0", "--budget", "10m") == 0
    assert "1 cell not measured yet; run it again to go on." in capsys.readouterr().err
    found = read_record(judged_run).judged
    assert (found.unmeasured, len(found.cells), found.winner) == (1, 3, None)


@pytest.mark.parametrize("text", ["soon", "10", "0m", "-3m"])
def test_a_budget_is_a_time(
    judged_run: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["judge", str(judged_run), f"--budget={text}", "--plan"])
    assert code == (0 if text == "10" else 1)
    assert text == "10" or "90s, 10m or 1h" in capsys.readouterr().err


def test_without_held_out_pictures_it_says_how_to_have_some_next_time(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (judged_run / "dataset.toml").read_text()
    (judged_run / "dataset.toml").write_text(text.replace("validation_split = 0.25\n", ""))
    assert judge(judged_run, measurer(maya=0.9, maya_000002=-0.2), "--strengths", "1.0") == 0
    said = capsys.readouterr()
    assert "No ranking: 0 held-out pictures, and it takes 3." in said.err
    assert "--set validation_split=0.15" in said.err
    assert "Worse than the base on training pictures: final at 1." in said.out
    assert "Next:" not in said.err


def test_a_folder_of_other_pictures_may_be_held_against_it_but_none_that_was_trained_on(
    judged_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    data = tmp_path / "datasets" / "8_maya"
    inquiry = inquire(judged_run)
    held = [Path(one["file"]) for one in inquiry.order["held"]]
    for number, file in enumerate(held):
        shutil.copy(file, other / f"x{number}.png")
    order = inquire(judged_run, held=Path("other")).order
    assert [one["file"] for one in order["held"]] == [str(other / f"x{n}.png") for n in range(3)]
    trained = next(one for one in sorted(data.glob("*.png")) if one not in held)
    shutil.copy(trained, other / "y.png")
    assert main(["judge", str(judged_run), "--held", str(other), "--plan"]) == 1
    assert f"y.png was trained on ({trained})" in capsys.readouterr().err


def of_family(run_dir: Path, family: str) -> None:
    record = json.loads((run_dir / "record.json").read_text()) | {"family": family}
    (run_dir / "record.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: shutil.rmtree(run.parents[2] / "datasets"), "--held FOLDER"),
        (
            lambda run: (run / "output" / "maya.safetensors").write_bytes(b"x"),
            "nothing was written",
        ),
        (lambda run: shutil.rmtree(run / "output"), "has no LoRA yet"),
        (lambda run: (run / "dataset.toml").unlink(), "dataset.toml"),
        (lambda run: of_family(run, "wan21"), "opens sd15, sdxl, flux; this run is of wan21"),
    ],
)
def test_what_is_missing_is_a_clear_error(
    judged_run: Path, spoil: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(judged_run)
    assert main(["judge", str(judged_run), "--plan"]) == 1
    assert said in capsys.readouterr().err


def test_a_run_that_is_still_being_trained_is_left_alone(
    judged_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    from lorakit.processes import boot_id, start_time

    data = json.loads((judged_run / "record.json").read_text())
    me = {"pid": os.getpid(), "started": start_time(os.getpid()), "boot_id": boot_id()}
    (judged_run / "record.json").write_text(
        json.dumps(data | {"state": "running", "supervisor": me})
    )
    assert main(["judge", str(judged_run), "--plan"]) == 1
    assert "maya/20260101-120000 is still being trained." in capsys.readouterr().err


def test_the_shortlist_becomes_a_sheet_with_the_usual_choice_beside_it(
    judged_run: Path, measurer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sheet", str(judged_run), "--judged"]) == 1
    assert "maya/20260101-120000 has no shortlist." in capsys.readouterr().err
    judge(judged_run, measurer(maya=-0.2, maya_000002=-1.0), "--strengths", "0.6,1.0")
    from lorakit.cli.sheet import _listed

    assert _listed(judged_run) == (("maya-000002.safetensors", 1.0), ("maya.safetensors", 1.0))
