"""A sweep is a folder of plain recipes: planned first, written once, read from the runs' records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_runs import MakeSweep, left_run
from pace import calls

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.engines.points import combinations, read_variations, recipe_with
from lorakit.engines.sweep import best, find_sweep, read_sweep, results_of
from lorakit.errors import RecipeError
from lorakit.recipe.document import read_document
from lorakit.recipe.resolve import resolve
from lorakit.run import queue


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_point_is_a_recipe_like_any_other_with_its_comments(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "recipes/maya.toml", "--vary", "network_dim=8,16", "--name", "rank"]) == 0
    assert files(Path("sweeps/rank")) == ["rank-01.toml", "rank-02.toml", "sweep.json"]
    text = Path("sweeps/rank/rank-02.toml").read_text()
    assert text.startswith(
        "# rank-02, of the sweep rank over recipes/maya.toml: network_dim = 16\n"
    )
    assert "network_dim = 16            # capacity" in text
    before, after = maya.read_text().splitlines(), text.splitlines()[1:]
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ['name    = "rank-02"', "network_dim = 16            # capacity"]
    resolved, faults = resolve(Path("sweeps/rank/rank-02.toml"))
    assert (resolved.name, resolved.get("network_dim")) == ("rank-02", 16)
    assert resolved.root == maya.parents[1]
    assert not [fault for fault in faults if fault.severity == "error"]
    assert "Next: lorakit sweep run rank" in capsys.readouterr().err


def test_a_point_can_be_planned_and_locked_alone(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["sweep", "maya", "--vary", "network_dim=8,16", "--name", "rank", "--lock"])
    assert files(Path("sweeps/rank"))[:2] == ["rank-01.lock.toml", "rank-01.toml"]
    assert main(["plan", "sweeps/rank/rank-01.toml"]) == 0
    lock = tomllib.loads(Path("sweeps/rank/rank-02.lock.toml").read_text())
    assert (lock["recipe"], lock["options"]["network_dim"]) == ("sweeps/rank/rank-02.toml", 16)


def test_a_point_that_cannot_be_planned_is_said_before_anything_is_written(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "maya", "--vary", "network_dim=8,huge", "--vary", "learning_rate=1e-4,2e-4"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "takes an integer" in said and "(point network_dim=huge" in said
    assert not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a sweep varies something"),
        (["--vary", "network_dim=8"], "not a key with two values"),
        (["--vary", "network_dim"], "not a key with two values"),
        (["--vary", "netwrok_dim=8,16"], "Did you mean network_dim?"),
        (["--vary", "network_dim=1,2", "--vary", "seed=1,2,3", "--zip"], "as many values of each"),
        (["--vary", "network_dim=1,2", "--vary", "network_dim=3,4"], "varied twice"),
        (["--vary", "launch.env.HF_TOKEN=a,b"], "belongs in none"),
        (["--vary", "network_dim=1,2", "--name", "a/b"], "cannot be a name"),
        (["--vary", f"seed={','.join(map(str, range(2000)))}"], "2000 points"),
    ],
)
def test_what_makes_no_sweep_is_said_and_nothing_is_written(
    words: list[str], said: str, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "maya", *words]) == 1
    assert said in capsys.readouterr().err
    assert not Path("sweeps").exists()


def test_a_private_value_is_written_into_no_file(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "maya", "--vary", "network_dim=8,16", "--set", "launch.env.KEY=geheim"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "launch.env.KEY" in said and "geheim" not in said
    assert not Path("sweeps").exists()


def test_the_page_shows_no_recipe_that_holds_private_values(
    make_sweep: MakeSweep, maya: Path
) -> None:
    maya.write_text(maya.read_text() + '[launch]\nenv = { WANDB_API_KEY = "geheim" }\n')
    root, folder = maya.parents[1], make_sweep("network_dim=8,16")
    left_run(root, "rank-01")
    assert main(["sweep", "report", "rank"]) == 0
    text = (folder / "report.html").read_text()
    assert "rank-01.toml" in text and "geheim" not in text


@pytest.mark.parametrize("where", ["", "slurm"])
def test_a_point_that_can_no_longer_be_planned_is_said_before_anything_is_queued(
    where: str, make_sweep: MakeSweep, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep("network_dim=8,16")
    path = folder / "rank-02.toml"
    path.write_text(path.read_text().replace("sdpa", "sdap"))
    assert main(["sweep", "run", "rank", "--on", where]) == 1
    err = capsys.readouterr().err
    assert "/rank-02.toml:" in err and "Did you mean sdpa?" in err
    assert not queue.listed(maya.parents[1]) and not (folder / "slurm").exists()


def test_a_point_that_failed_is_not_tried_again_unasked(
    make_sweep: MakeSweep, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = maya.parents[1]
    make_sweep("network_dim=8,16")
    left_run(root, "rank-01", state="failed", outcome={"step": 3, "reason": "out of memory"})
    left_run(root, "rank-02")
    main(["sweep", "run", "rank"])
    assert "rank-01 has failed; lorakit explain rank-01 says why" in capsys.readouterr().err
    assert not queue.listed(root)


def test_what_is_there_already_is_left_as_it_is(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "maya", "--vary", "network_dim=8,16"]
    assert main(words) == 0
    Path("sweeps/maya-sweep/maya-sweep-01.toml").write_text("mine")
    assert main(words) == 1
    assert Path("sweeps/maya-sweep/maya-sweep-01.toml").read_text() == "mine"
    assert "Choose another --name" in capsys.readouterr().err


def test_values_keep_their_quotes_brackets_and_commas() -> None:
    found = read_variations(['resolution="512,768","768,768"', "betas=[0.9, 0.99],[0.95, 0.98]"])
    assert found["resolution"] == ('"512,768"', '"768,768"')
    assert found["betas"] == ("[0.9, 0.99]", "[0.95, 0.98]")


def test_combinations_side_by_side_and_at_random() -> None:
    varied = read_variations(["a=1,2,3", "b=x,y,z"])
    assert len(combinations(varied)) == 9
    assert combinations(varied, zipped=True) == [("a=1", "b=x"), ("a=2", "b=y"), ("a=3", "b=z")]
    drawn = combinations(varied, random=4, seed=3)
    assert drawn == combinations(varied, random=4, seed=3) and len(set(drawn)) == 4
    assert set(drawn) < set(combinations(varied))


def test_a_setting_that_the_recipe_does_not_say_gets_a_line_or_a_section(maya: Path) -> None:
    document = read_document(maya, "maya")
    values = {("train", "seed"): 3, ("launch", "processes"): 1, ("notes",): "a"}
    text = recipe_with(document, values, "x")
    data = tomllib.loads(text)
    assert (data["train"]["seed"], data["launch"], data["notes"]) == (3, {"processes": 1}, "a")
    assert "# small: faces" in text


def test_a_value_over_several_lines_is_changed_too(maya: Path) -> None:
    text = recipe_with(read_document(maya, "maya"), {("sample", "prompts"): ["b"]}, "x")
    data = tomllib.loads(text)
    assert data["sample"] == {"every_n_epochs": 1, "prompts": ["b"]}
    assert data["train"]["learning_rate"] == 1e-4


def test_the_preset_itself_can_be_varied(maya: Path) -> None:
    words = ["sweep", "maya", "--vary", "preset=sd15,sd15-anime", "--name", "presets"]
    assert main(words) == 0
    assert 'preset = "sd15-anime"' in Path("sweeps/presets/presets-02.toml").read_text()


def test_the_table_says_what_the_records_say(
    make_sweep: MakeSweep, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = maya.parents[1], make_sweep()
    left_run(root, "rank-01", outcome={"step": 100, "loss": 0.2, "validation_loss": 0.3})
    left_run(root, "rank-02", outcome={"step": 100, "loss": 0.1, "validation_loss": 0.4})
    left_run(root, "rank-03", state="failed", outcome={"step": 3, "reason": "out of memory"})
    assert main(["sweep", "table", "rank", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in found["points"]] == [
        *("done", "done", "failed"),
        *("not started",) * 3,
    ]
    assert (found["best"], found["by"]) == ("rank-01", "lowest held-out loss of 2 finished points")
    assert main(["sweep", "status", "rank"]) == 0
    said = capsys.readouterr()
    assert "3 not started, 2 done, 1 failed" in said.out and "out of memory" in said.out
    assert find_sweep("", root) == folder


def test_the_judges_number_counts_more_than_losses(make_sweep: MakeSweep, maya: Path) -> None:
    root, folder = maya.parents[1], make_sweep("network_dim=8,16")
    for name, held in (("rank-01", -0.1), ("rank-02", -0.2)):
        cell = {"checkpoint": "a", "verdict": "listed", "held": held}
        judged = {"when": "2026", "held_out": 9, "cells": [cell, {"checkpoint": "b"}]}
        left_run(root, name, judged=judged)
    first, how = best(results_of(root, read_sweep(folder)))
    assert first is not None
    assert (first.point.name, first.judged) == ("rank-02", -0.2)
    assert "the judge's number" in how


def test_the_winner_becomes_a_recipe_and_overwrites_none(
    make_sweep: MakeSweep, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = maya.parents[1], make_sweep("network_dim=8,16")
    left_run(root, "rank-02", outcome={"step": 100, "loss": 0.05})
    words = ["sweep", "table", "rank", "--winner", "recipes/best.toml"]
    assert main(words) == 0
    assert "Next: lorakit plan recipes/best.toml" in capsys.readouterr().err
    resolved, _ = resolve(Path("recipes/best.toml"))
    assert (resolved.name, resolved.get("network_dim")) == ("best", 16)
    assert main(words) == 1


def test_the_page_holds_table_curves_and_the_best_recipe(make_sweep: MakeSweep, maya: Path) -> None:
    root, folder = maya.parents[1], make_sweep("network_dim=8,16")
    left_run(root, "rank-01", losses=(0.3, 0.2))
    left_run(root, "rank-02", losses=(0.3, 0.1))
    assert main(["sweep", "report", "rank"]) == 0
    text = (folder / "report.html").read_text()
    for part in ("points", "curves", "best"):
        assert f'<section id="{part}"' in text
    assert "rank-02.toml: lowest training loss" in text and "network_dim = 16" in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_page_of_points_that_nobody_trains_does_not_say_running(
    make_sweep: MakeSweep, maya: Path
) -> None:
    folder = make_sweep("network_dim=8,16")
    for state, next_run in (("not started", "rank-01"), ("unfinished", "rank-02"), ("done", "")):
        assert main(["sweep", "report", "rank"]) == 0
        assert f">{state}</span>" in (folder / "report.html").read_text()
        if next_run:
            left_run(maya.parents[1], next_run)


def test_an_edited_point_is_said_and_a_missing_one_stops(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep("network_dim=8,16")
    (folder / "rank-01.toml").write_text("# mine\n" + (folder / "rank-01.toml").read_text())
    main(["sweep", "status", "rank"])
    assert "rank-01.toml: has been edited" in capsys.readouterr().err
    (folder / "rank-02.toml").unlink()
    assert main(["sweep", "run", "rank"]) == 1
    assert "rank-02.toml: is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"points": 3}',
        "{}",
        '{"points": [{"name": "../x", "file": "a.toml"}]}',
        '{"points": [{"name": "x", "file": "../a.toml"}]}',
        '{"schema": 9, "points": []}',
    ],
)
def test_a_manifest_edited_into_nonsense_is_a_clear_error(
    text: str, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep("network_dim=8,16")
    (folder / "sweep.json").write_text(text)
    assert main(["sweep", "table", "rank"]) == 1
    assert "sweep.json" in capsys.readouterr().err


def test_an_unknown_sweep_names_the_nearest(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep("network_dim=8,16")
    assert main(["sweep", "table", "rnak"]) == 1
    assert "Did you mean rank?" in capsys.readouterr().err


def test_two_people_who_submit_the_same_sweep_queue_each_point_once(tmp_path: Path) -> None:
    recipe = tmp_path / "sweeps" / "rank" / "rank-01.toml"
    first = queue.add(tmp_path, recipe, once=True)
    assert queue.add(tmp_path, recipe, once=True) == first
    queue.change(tmp_path, first.number, state="failed", worker=None)
    assert queue.add(tmp_path, recipe, once=True).number == 2


def test_a_record_costs_a_sweeps_table_few_function_calls(
    make_sweep: MakeSweep, maya: Path
) -> None:
    seeds = ",".join(map(str, range(4)))
    root, folder = maya.parents[1], make_sweep(f"seed={seeds}")
    sweep = read_sweep(folder)
    settings = {"train": {f"key_{n}": {"value": n, "source": "preset sd15"} for n in range(60)}}
    for point in sweep.points:
        left_run(root, point.name, settings=settings)
    assert calls(lambda: results_of(root, sweep)) / 4 < 2_000  # 1,200 today


def test_recipes_that_cannot_be_read_are_refused_by_name(maya: Path) -> None:
    maya.write_text("family = ")
    with pytest.raises(RecipeError):
        resolve(maya)
    assert main(["sweep", "maya", "--vary", "network_dim=8,16"]) == 1
