"""Halving decides from the records alone, once; in toy runs what is kept ends as if never stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from engine_runs import MakeSweep, left_run

from lorakit.cli.main import main
from lorakit.engines.halving import StopAt, cut, decide, rungs_made
from lorakit.engines.sweep import read_sweep, results_of
from lorakit.errors import LorakitError
from lorakit.events import Event
from lorakit.processes import Identity
from lorakit.runs.record import read_record
from lorakit.weights.finite import inspect


def test_the_worst_third_and_whatever_has_no_score_stops() -> None:
    scores = {"a": 0.3, "b": 0.1, "c": 0.2, "d": None, "e": 0.5, "f": 0.4, "g": 0.6}
    kept, stopped = cut(scores)
    assert (kept, stopped) == (("a", "b", "c", "f"), ("d", "e", "g"))
    assert cut({"a": 0.3, "b": 0.1}) == (("a", "b"), ())
    assert cut({"a": None}) == ((), ("a",))


def test_a_decision_is_made_once_and_then_followed(make_sweep: MakeSweep, maya: Path) -> None:
    root = maya.parents[1]
    folder = make_sweep("learning_rate=1e-4,2e-4,5e-4")
    for number, late in enumerate((0.1, 0.3, 0.2), 1):
        losses = (*(0.5 - 0.1 * number,) * 50, *(late,) * 50)
        left_run(root, f"rank-0{number}", losses=losses, state="stopped")
    results = results_of(root, read_sweep(folder))
    first = decide(folder, 1, 0.5, results)
    assert first.measure == "mean training loss"
    assert first.stopped == ("rank-01",)  # the highest loss before step 50, whatever came later
    assert decide(folder, 1, 0.9, results[:2]) == first
    assert rungs_made(folder, read_sweep(folder)) == [first]


def test_nothing_is_decided_while_somebody_else_trains_a_point(
    make_sweep: MakeSweep, maya: Path
) -> None:
    root, folder = maya.parents[1], make_sweep("network_dim=8,16")
    me = Identity.of(os.getpid()).to_json()
    left_run(root, "rank-01", state="running", supervisor=me, outcome={})
    left_run(root, "rank-02", state="stopped")
    with pytest.raises(LorakitError, match="rank-01 is still being trained by somebody else"):
        decide(folder, 1, 0.5, results_of(root, read_sweep(folder)))
    assert not (folder / "rung-1.json").exists()


def test_held_out_losses_count_where_every_point_has_one(make_sweep: MakeSweep, maya: Path) -> None:
    root = maya.parents[1]
    folder = make_sweep("learning_rate=1e-4,2e-4,5e-4")
    for number, held in enumerate((0.2, 0.1, 0.3), 1):
        outcome = {"step": 50, "loss": 1 - held, "validation_loss": held}
        left_run(root, f"rank-0{number}", state="stopped", outcome=outcome)
    rung = decide(folder, 1, 0.5, results_of(root, read_sweep(folder)))
    assert (rung.measure, rung.stopped) == ("held-out loss", ("rank-03",))


def test_a_run_is_asked_to_save_once_it_has_made_the_steps(tmp_path: Path) -> None:
    seen: list[Event] = []
    watch = StopAt(seen.append, 5)
    watch(Event("started", 0, 20, path=str(tmp_path)))
    watch(Event("step", 4, 20))
    assert not (tmp_path / "stop.json").exists()
    watch(Event("step", 5, 20))
    assert json.loads((tmp_path / "stop.json").read_text()) == {"mode": "save"}
    (tmp_path / "stop.json").unlink()
    watch(Event("step", 6, 20))
    assert not (tmp_path / "stop.json").exists()
    assert len(seen) == 4


def test_a_trainer_that_saves_no_state_is_refused_beforehand(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep("network_dim=8,16")
    assert main(["sweep", "run", "rank", "--halving"]) == 1
    assert "saves no state" in capsys.readouterr().err


def test_a_recipe_with_stages_is_refused_beforehand(
    maya: Path, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = '\n[[stage]]\nname = "one"\n\n[[stage]]\nname = "two"\n'
    maya.write_text(maya.read_text() + stages)
    make_sweep("network_dim=8,16")
    assert main(["sweep", "run", "rank", "--halving"]) == 1
    assert "has several stages, which no rung can compare" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x", "0", "50,25", "100", "25,25"])
def test_rungs_are_rising_percentages(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "run", "rank", "--rungs", text])
    assert "rising percentages" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_three_toy_runs_one_is_stopped_and_the_kept_end_as_if_left_in_peace(toy: Path) -> None:
    words = ["--vary", "learning_rate=1e-3,1e-2,1", "--name", "rates"]
    assert main(["sweep", "ball", *words]) == 0
    assert main(["sweep", "run", "rates", "--rungs", "30"]) == 0
    sweep = read_sweep(toy / "sweeps" / "rates")
    (rung,) = rungs_made(toy / "sweeps" / "rates", sweep)
    scores = {name: 1e9 if value is None else value for name, value in rung.scores.items()}
    assert rung.stopped == (max(scores, key=lambda name: scores[name]),)
    results = {one.point.name: one for one in results_of(toy, sweep)}
    assert results[rung.stopped[0]].step < 200
    assert [results[name].state for name in rung.kept] == ["done", "done"]
    kept = results[rung.kept[0]].run_dir
    assert kept is not None
    assert read_record(kept).parts[0].from_step
    assert main(["train", f"sweeps/rates/{rung.kept[0]}.toml"]) == 0
    peace = max((toy / "runs" / rung.kept[0]).iterdir())
    assert peace != kept
    lora = Path("output") / f"{rung.kept[0]}.safetensors"
    assert inspect(kept / lora).tensors_sha256 == inspect(peace / lora).tensors_sha256


@pytest.mark.slow
def test_a_sweep_through_the_queue_trains_what_is_missing_and_nothing_twice(toy: Path) -> None:
    main(["sweep", "ball", "--vary", "seed=1,2", "--set", "max_train_steps=4", "--name", "seeds"])
    assert main(["sweep", "run", "seeds"]) == 0
    assert main(["sweep", "run", "seeds"]) == 0
    sweep = read_sweep(toy / "sweeps" / "seeds")
    assert [one.state for one in results_of(toy, sweep)] == ["done", "done"]
    assert len(list(toy.glob("runs/seeds-*/*"))) == 2
