"""lorakit train and lorakit queue, as typed; the plans are made by hand, everything after them is real."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli import train as command
from lorakit.cli.main import main
from lorakit.errors import Fault, RecipeError
from lorakit.runs.folder import new_run_dir
from lorakit.runs.record import read_record


@pytest.fixture(autouse=True)
def plans(project: Path, make_plan: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Recipe name: what its plan is made of. A recipe that is not listed cannot be read."""
    known: dict[str, Any] = {
        "fox": {"steps": 2},
        "owl": {"fake": "out_of_memory.py", "steps": 2},
        "elk": {"steps": 3},
    }

    def plan_of(recipe: Path, sets: list[str], unsets: list[str]) -> Any:
        name = Path(recipe).stem
        if name not in known:
            raise RecipeError(f"{recipe}: no such recipe")
        made = dict(known[name])
        faults = made.pop("faults", ())
        plan = make_plan(name=name, run=new_run_dir(project, name).name, **made)
        return type(plan)(**{**vars(plan), "faults": faults})

    monkeypatch.setattr(command, "plans_now", lambda *asked: (plan_of(*asked),))
    monkeypatch.chdir(project)
    for name in known:
        (project / "recipes" / f"{name}.toml").write_text('preset = "sd15"\n')
    before = signal.getsignal(signal.SIGPIPE)
    yield known
    signal.signal(signal.SIGPIPE, before)


def test_one_good_recipe_exits_0_and_says_where_the_lora_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "recipes/fox.toml"]) == 0
    err = capsys.readouterr().err
    assert "output/fox.safetensors is intact: 2 steps in" in err
    assert "step 1/2  epoch 1/1  loss 1" in err


def test_a_failed_training_exits_4_with_last_lines_cause_and_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "recipes/owl.toml"]) == 4
    err = capsys.readouterr().err
    for words in (
        "  torch.OutOfMemoryError: CUDA out of memory.",
        "Training failed: the script ended with exit code 1.",
        "The complete log: ",
        "Cause: the GPU has too little memory",
        "Remedy: lorakit train recipes/owl.toml --set train_batch_size=1",
    ):
        assert words in err
    assert "Traceback of ours" not in err


def test_errors_of_the_plan_are_told_at_once_and_nothing_is_started(
    plans: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans["fox"]["faults"] = (
        Fault("recipes/fox.toml:1", "one is wrong."),
        Fault("recipes/fox.toml:2", "two is wrong."),
    )
    assert main(["train", "recipes/fox.toml"]) == 1
    err = capsys.readouterr().err
    assert err.count("one is wrong") == 1
    assert "2 problems; nothing was started." in err
    assert not (project / "runs").exists()


def test_several_recipes_go_past_a_failed_one_and_end_with_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(["train", "recipes/fox.toml", "recipes/owl.toml", "no/such.toml", "recipes/elk.toml"])
        == 4
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        ("recipe", "state"),
        ("recipes/fox.toml", "done"),
        ("recipes/owl.toml", "failed"),
        ("no/such.toml", "not"),
        ("recipes/elk.toml", "done"),
    ]


def test_json_is_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "recipes/fox.toml", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "started"
    assert [(event["step"], event["loss"]) for event in events if event["event"] == "step"] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert events[-1]["event"] == "ended"
    assert events[-1]["text"] == "done"


def test_notify_runs_without_a_shell_and_knows_the_end(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['LORAKIT_STATE'] + sys.argv[2])"
    assert (
        main(
            [
                "train",
                "recipes/fox.toml",
                "--notify",
                f"{sys.executable} -c \"{script}\" said.txt '; rm -rf *'",
            ]
        )
        == 0
    )
    assert (project / "said.txt").read_text() == "done; rm -rf *"
    assert main(["train", "recipes/fox.toml", "--notify", "/no/such/program"]) == 0
    assert "--notify: /no/such/program ended with 127" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_exits_130_and_the_next_recipe_is_not_started(
    plans: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans["fox"] = {"steps": 500, "pause": 0.02, "env": {"SAVE_EVERY": "2"}}
    import threading

    threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert main(["train", "recipes/fox.toml", "recipes/elk.toml"]) == 130
    err = capsys.readouterr().err
    assert "Interrupted at step" in err
    assert "Saved: fox-step00000002.safetensors" in err
    assert not (project / "runs" / "elk").exists()


def test_locked_refuses_a_changed_caption_before_anything_starts(
    plans: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lorakit.proof import lock

    (project / "models").mkdir()
    (project / "models/base.safetensors").write_bytes(b"base")
    plan = vars(command)["plans_now"](Path("recipes/fox.toml"), [], [])[0]  # as the command plans
    lock.lock_path(plan.resolved.file).write_text(lock.text_of(lock.lock_of(plan)))
    assert main(["train", "--locked", "recipes/fox.toml"]) == 0
    (project / "datasets/fox/10_fox/a.txt").write_text("fox, by a lake\n")
    assert main(["train", "--locked", "recipes/fox.toml"]) == 1
    assert "1 difference from fox.lock.toml; nothing was started." in capsys.readouterr().err


def test_two_starts_in_one_second_get_two_folders(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(time, "strftime", lambda _: "20260101-120000")
    assert main(["train", "recipes/fox.toml"]) == 0
    assert main(["train", "recipes/fox.toml"]) == 0
    assert sorted(path.name for path in (project / "runs" / "fox").iterdir()) == [
        "20260101-120000",
        "20260101-120000-2",
    ]


def test_a_folder_taken_between_plan_and_start_means_planning_again(
    plans: dict[str, Any], project: Path, make_plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = make_plan(steps=2)
    (taken.run_dir / "output").mkdir(parents=True)
    given = iter([taken, make_plan(steps=2, run="20260101-120001")])
    monkeypatch.setattr(command, "plans_now", lambda *_: (next(given),))
    assert main(["train", "recipes/fox.toml"]) == 0
    assert read_record(project / "runs" / "fox" / "20260101-120001").state == "done"


def test_the_queue_takes_what_train_queue_put_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "recipes/fox.toml", "recipes/owl.toml", "--queue"]) == 0
    assert main(["queue", "add", "recipes/elk.toml", "--set", "network_dim=8"]) == 0
    assert main(["queue", "run"]) == 4
    capsys.readouterr()
    assert main(["queue", "list"]) == 0
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["1", "recipes/fox.toml", "done", "-"],
        ["2", "recipes/owl.toml", "failed", "-"],
        ["3", "recipes/elk.toml", "done", "network_dim=8"],
    ]
    assert main(["queue", "run"]) == 0
    assert "Nothing waits" in capsys.readouterr().err
    assert main(["queue", "remove", "--ended"]) == 0
    assert main(["queue", "list"]) == 0
    assert "The queue is empty" in capsys.readouterr().err


def test_the_queue_waits_for_the_device(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lorakit.cli.queue import run as queue_run
    from lorakit.run.train import hold_device

    waits: list[float] = []
    monkeypatch.setattr(queue_run, "WAIT_S", 0.0)
    with hold_device(Path("runs/other/x"), print):
        monkeypatch.setattr(
            "time.sleep",
            lambda seconds: (
                waits.append(seconds)
                if len(waits) < 3
                else (_ for _ in ()).throw(KeyboardInterrupt)
            ),
        )
        with pytest.raises(KeyboardInterrupt):
            queue_run.wait_for_device()
    assert len(waits) == 3
    assert "waiting for the device; runs/other/x is training on it" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["queue", "add"], ["train", "--queue"]])
def test_what_cannot_start_does_not_get_into_the_queue(
    words: list[str], plans: dict[str, Any], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans["fox"]["faults"] = (Fault("recipes/fox.toml:1", "one is wrong."),)
    assert main([*words, "recipes/elk.toml", "recipes/fox.toml"]) == 1
    err = capsys.readouterr().err
    assert "one is wrong" in err
    assert "1 problem; nothing was started." in err
    main(["queue", "list"])
    assert "The queue is empty" in capsys.readouterr().err
    plans["fox"]["faults"] = ()
    assert main([*words, "recipes/elk.toml", "recipes/fox.toml"]) == 0
    assert "Next: lorakit queue run" in capsys.readouterr().err
    assert main(["queue", "move", "2"]) == 0
    assert "  2: recipes/fox.toml\n  1: recipes/elk.toml" in capsys.readouterr().err
