"""A search asks Optuna for the next point and tells it what the records say; points stay plain recipes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_runs import left_run
from pace import until

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.engines.points import combinations, read_variations
from lorakit.engines.search import ask_points
from lorakit.engines.sweep import read_sweep, results_of
from lorakit.errors import RecipeError
from lorakit.run import queue

RATES = ["--vary", "learning_rate=1e-5..1e-3", "--vary", "network_dim=8,16,32"]


@pytest.fixture
def searched(maya: Path) -> Path:
    """The folder of a search for four points, of which two are there."""
    pytest.importorskip("optuna")
    assert main(["sweep", "maya", *RATES, "--search", "4", "--name", "rank", "--at-once", "2"]) == 0
    return maya.parents[1] / "sweeps" / "rank"


def asked(folder: Path, at_once: int = 1) -> list[str]:
    return [one.name for one in ask_points(folder, at_once).points]


def test_a_range_is_drawn_from_and_needs_a_search(maya: Path) -> None:
    varied = read_variations(["learning_rate=1e-5..1e-3", "network_dim=8,16"])
    with pytest.raises(RecipeError, match="is a range, from which only a search draws"):
        combinations(varied)
    with pytest.raises(RecipeError, match="not a key with two values"):
        read_variations(["learning_rate=1e-3..1e-5"])


def test_without_optuna_the_command_is_said_and_nothing_is_written(
    maya: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", "maya", *RATES, "--search", "30"]) == 1
    said = capsys.readouterr().err
    assert "--search is Optuna's work, which is not here." in said
    assert "pip install 'lorakit[sweep]'" in said and not Path("sweeps").exists()


def test_the_first_points_of_a_search_are_plain_recipes_within_the_ranges(searched: Path) -> None:
    sweep = read_sweep(searched)
    assert (sweep.search, [one.name for one in sweep.points]) == (4, ["rank-01", "rank-02"])
    for point in sweep.points:
        train = tomllib.loads((searched / point.file).read_text())["train"]
        assert 1e-5 <= train["learning_rate"] <= 1e-3 and train["network_dim"] in {8, 16, 32}
        assert point.settings == {
            "train.learning_rate": train["learning_rate"],
            "train.network_dim": train["network_dim"],
        }


def test_the_next_point_is_asked_for_once_the_records_tell_of_the_others(
    searched: Path, maya: Path
) -> None:
    root = maya.parents[1]
    assert asked(searched) == ["rank-01", "rank-02"]  # which nobody has trained yet
    left_run(root, "rank-01", losses=(0.3, 0.2))
    left_run(root, "rank-02", state="failed", outcome={"step": 3, "reason": "out of memory"})
    assert asked(searched) == ["rank-01", "rank-02", "rank-03"]
    assert asked(searched) == ["rank-01", "rank-02", "rank-03"]
    assert main(["plan", "sweeps/rank/rank-03.toml"]) == 0
    left_run(root, "rank-03", losses=(0.3, 0.1))
    assert asked(searched, 5)[2:] == ["rank-03", "rank-04"]  # and four is all that was wanted
    told = [json.loads(one) for one in (searched / "search.log").read_text().splitlines()]
    assert [one["value"] for one in told if one.get("value")] == [0.2, 0.1]


def test_a_study_that_was_lost_is_made_again_from_the_records(searched: Path, maya: Path) -> None:
    left_run(maya.parents[1], "rank-01", losses=(0.3, 0.2))
    left_run(maya.parents[1], "rank-02", losses=(0.3, 0.1))
    assert len(asked(searched)) == 3
    third = (searched / "rank-03.toml").read_text()
    (searched / "search.log").unlink()
    left_run(maya.parents[1], "rank-03", losses=(0.3, 0.1))
    assert len(asked(searched)) == 4
    assert (searched / "rank-03.toml").read_text() == third


def test_what_a_kill_left_between_asking_and_writing_is_neither_lost_nor_overwritten(
    searched: Path, maya: Path
) -> None:
    for name in ("rank-01", "rank-02"):
        left_run(maya.parents[1], name, losses=(0.3, 0.2))
    manifest = (searched / "sweep.json").read_text()
    assert asked(searched)[2:] == ["rank-03"]
    (searched / "sweep.json").write_text(manifest)  # killed before this was written
    third = (searched / "rank-03.toml").read_text()
    assert asked(searched)[2:] == ["rank-04"]
    assert (searched / "rank-03.toml").read_text() == third


@pytest.mark.slow
def test_few_values_are_not_asked_for_twice(maya: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    words = ["sweep", "maya", "--vary", "network_dim=8,16", "--search", "30"]
    assert main(words) == 0
    folder = Path("sweeps/maya-sweep").absolute()
    points = read_sweep(folder).points
    assert {one.settings["train.network_dim"] for one in points} == {8, 16} and len(points) == 2
    for point in points:
        left_run(maya.parents[1], point.name, losses=(0.3, 0.2))
    assert len(asked(folder)) == 2


def test_halving_is_not_for_a_search(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "run", "rank", "--halving"]) == 1
    assert "asks for its points one after another" in capsys.readouterr().err
    assert not queue.listed(searched.parents[1])


@pytest.mark.long
@pytest.mark.slow
def test_a_search_of_toy_trainings_is_cut_off_and_goes_on_to_its_last_point(toy: Path) -> None:
    pytest.importorskip("optuna")
    words = ["--vary", "learning_rate=1e-5..1e-2", "--vary", "network_dim=2,4", "--at-once", "1"]
    words += ["--set", "max_train_steps=12", "--search", "4", "--seed", "5"]
    assert main(["sweep", "ball", "--name", "rates", *words]) == 0
    folder = toy / "sweeps" / "rates"
    first = subprocess.Popen([sys.executable, "-m", "lorakit", "sweep", "run", "rates"])
    until(lambda: list(toy.glob("runs/rates-02/*/progress.jsonl")), seconds=200)
    first.send_signal(signal.SIGINT)
    first.wait(60)
    assert main(["sweep", "run", "rates"]) == 0
    results = results_of(toy, read_sweep(folder))
    assert [one.state for one in results] == ["done"] * 4
    assert len({one.point.asked for one in results}) == 4
    for one in results:
        text = (folder / one.point.file).read_text()
        assert text.count("of the sweep") == 1 and "max_train_steps = 12" in text
