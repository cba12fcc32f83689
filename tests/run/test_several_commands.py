"""A run of several commands is followed, recorded, stopped, adopted and resumed as one run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import three_commands
from pace import until
from plans_by_hand import FAKES, MakePlan

from lorakit.cli.main import main
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.run import train as launching
from lorakit.run.resume.adopt import adopt
from lorakit.run.resume.next_command import next_command
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import live_state, progress_rows
from lorakit.runs.record import Record, read_record
from lorakit.trainers import table
from lorakit.trainers.base import Start
from lorakit.trainers.table import TRAINERS, trainer

LEADS = "leads_three_commands.py"


@pytest.fixture
def several(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """A plan of three commands; `latents=`, `texts=` are what a cacher gets beside the usual."""
    monkeypatch.setattr(table, "TRAINERS", TRAINERS)  # undone afterwards
    three_commands.register()
    leads = (sys.executable, str(FAKES / LEADS))
    monkeypatch.setattr(launching, "leader", lambda run: (*leads, str(run)))

    def make(
        fake: str = "trains.py",
        latents: tuple[str, ...] = ("2",),
        texts: tuple[str, ...] = ("2",),
        **options: Any,
    ) -> Plan:
        plan = make_plan(fake, trainer="three", **options)
        commands = three_commands.of(plan.run_dir, plan.argv, latents=latents, texts=texts)
        settings = {**plan.settings, **plan.resolved.train}
        return replace(plan, commands=commands, settings=settings)

    return make


def states(record: Record) -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in record.commands]


def test_three_good_commands_are_one_run_with_one_record(several: MakePlan) -> None:
    plan, events = several(), list[Event]()
    outcome = train(plan, emit=events.append)
    record = read_record(plan.run_dir)
    assert (outcome.state, outcome.ending.step, outcome.ending.exit_code) == ("done", 4, 0)
    assert states(record) == [("latents", "done"), ("texts", "done"), ("training", "done")]
    assert record.command == plan.argv
    assert [one.argv for one in record.commands] == [one.argv for one in plan.commands]
    assert [row["loss"] for row in progress_rows(plan.run_dir)] == [1.0, 0.5, 0.333, 0.25]
    told = [one.text for one in events if one.kind == "command"]
    assert told[0] == "latents (1 of 3): running"
    assert [text.partition(",")[0] for text in told if text] == [
        f"{name}: {state}"
        for name in ("latents (1 of 3)", "texts (2 of 3)", "training (3 of 3)")
        for state in ("running", "done")
    ]
    assert [one.kind for one in events].count("ended") == 1
    # each is read by a reader of its own
    phases = [one.text for one in events if one.kind == "phase"]
    assert phases[:2] == ["caching, 1 done", "caching, 2 done"]
    assert phases[-2:] == ["training", "saving"]


@pytest.mark.slow
def test_a_command_that_fails_is_named_and_nothing_after_it_starts(several: MakePlan) -> None:
    plan = several(texts=("2", "0", "3"))
    outcome = train(plan)
    assert (outcome.state, outcome.ending.reason) == (
        "failed",
        "texts (2 of 3) failed: exit code 3",
    )
    record = read_record(plan.run_dir)
    assert states(record) == [("latents", "done"), ("texts", "failed"), ("training", "")]
    assert record.outcome.exit_code == 3
    assert b"running training" not in (plan.run_dir / "log.txt").read_bytes()


def test_a_command_that_ends_well_and_left_nothing_has_failed(several: MakePlan) -> None:
    outcome = train(several(texts=("0",)))
    assert outcome.ending.reason == "texts (2 of 3) failed: it left no texts"


def test_a_command_that_is_not_there_is_a_sentence_in_the_log(several: MakePlan) -> None:
    plan = several()
    first = plan.commands[0]._replace(argv=("/nowhere/python",))
    outcome = train(replace(plan, commands=(first, *plan.commands[1:])))
    assert outcome.ending.reason.startswith("latents (1 of 3) failed: ")
    assert "/nowhere/python" in outcome.ending.reason
    assert b"Traceback" not in (plan.run_dir / "log.txt").read_bytes()


@pytest.mark.slow
def test_what_is_as_it_was_is_not_made_again(several: MakePlan) -> None:
    train(several())
    again = several(run="20260101-120001")
    first, *_ = again.commands
    who, work = trainer("three"), again.work
    assert who.needless(first, work) == "made from the same images"
    changed = several(run="20260101-120002", train={"learning_rate": 2e-4})
    assert train(changed).ok
    assert read_record(changed.run_dir).commands[0].state == "done"


def interrupt_in(command: str) -> Any:
    """Ctrl-C a moment after that command has begun."""

    def report(event: Event) -> None:
        if event.kind == "command" and event.text == f"{command}: running":
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    return report


@pytest.mark.slow
def test_ctrl_c_in_the_first_command_ends_all_and_resume_goes_on_in_the_same_run(
    several: MakePlan,
) -> None:
    plan = several(latents=("40", "0.1"))
    outcome = train(plan, emit=interrupt_in("latents (1 of 3)"))
    assert (outcome.state, outcome.ending.reason) == (
        "interrupted",
        "interrupted in latents (1 of 3)",
    )
    record = read_record(plan.run_dir)
    assert states(record) == [("latents", "stopped"), ("texts", ""), ("training", "")]
    assert next_command(plan.run_dir, record) == "lorakit resume fox/20260101-120000"
    shorter = replace(record.commands[0], argv=(*record.commands[0].argv[:-2], "2"))
    data = replace(record, commands=(shorter, *record.commands[1:])).to_json()
    (plan.run_dir / "record.json").write_text(json.dumps(data))
    assert resume_run(plan.run_dir).state == "done"
    assert [one for _, one in states(read_record(plan.run_dir))] == ["done", "done", "done"]


def test_stop_in_the_first_command_ends_it_at_once(
    several: MakePlan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = several(latents=("40", "0.1"))
    monkeypatch.chdir(plan.resolved.root)

    def ask(event: Event) -> None:
        if event.kind == "command" and not (plan.run_dir / STOP_REQUEST).exists():
            threading.Thread(target=main, args=(["stop", "fox"],)).start()

    outcome = train(plan, emit=ask)
    assert (outcome.state, outcome.ending.reason) == (
        "stopped",
        "stopped on request in latents (1 of 3)",
    )
    said = capsys.readouterr().err
    assert "is in latents (1 of 3), before the training. It ends at once." in said


def test_a_killed_command_does_not_leave_one_running_in_the_record(several: MakePlan) -> None:
    plan = several(latents=("40", "0.1"))

    def kill(event: Event) -> None:
        if event.kind == "command":
            os.killpg(read_record(plan.run_dir).process.pid, signal.SIGKILL)

    outcome = train(plan, emit=kill)
    assert (outcome.state, outcome.ending.signal) == ("failed", signal.SIGKILL)
    assert states(read_record(plan.run_dir))[0] == ("latents", "failed")


@pytest.mark.slow
def test_a_resumed_training_makes_its_caches_again_only_where_they_changed(
    several: MakePlan,
) -> None:
    plan = several("saves_when_asked.py", steps=40, pause=0.05, env={"SAVE_EVERY": "4"})

    def stop(event: Event) -> None:
        if event.kind == "step" and event.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    assert train(plan, emit=stop).state == "interrupted"
    outcome = resume_run(plan.run_dir)
    record = read_record(plan.run_dir)
    assert outcome.state == "done", outcome.ending.reason
    assert [one for _, one in states(record)] == ["skipped", "skipped", "done"]
    assert record.commands[-1].argv == record.part.command
    assert record.command == plan.argv


TRAIN = """
import pickle, sys
sys.path.insert(0, sys.argv[2])
import three_commands
from lorakit.run import train
three_commands.register()
train.leader = lambda run: (sys.executable, sys.argv[3], str(run))
train.train(pickle.load(open(sys.argv[1], 'rb')))
"""


@pytest.mark.slow
def test_lorakit_killed_in_the_first_command_leaves_a_run_that_is_adopted(
    several: MakePlan, tmp_path: Path
) -> None:
    plan = several(latents=("10", "0.1"))
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
    words = (str(tmp_path / "plan.pickle"), str(FAKES.parent), str(FAKES / LEADS))
    lorakit = Popen([sys.executable, "-c", TRAIN, *words])
    log = plan.run_dir / "log.txt"
    until(lambda: log.is_file() and b"1it" in log.read_bytes())
    lorakit.kill()
    lorakit.wait()
    assert live_state(read_record(plan.run_dir)) == "unattended"
    assert adopt(plan.run_dir).state == "done"
    assert [one for _, one in states(read_record(plan.run_dir))] == ["done", "done", "done"]


@pytest.mark.slow
def test_every_file_that_is_the_lora_must_be_good(several: MakePlan) -> None:
    plan = several(train={"loras": ["fox", "fox_low"]})
    outcome = train(plan)
    assert outcome.state == "failed"
    assert "fox_low.safetensors does not exist" in outcome.ending.reason
    second = several(run="20260101-120001", train={"loras": ["fox"]})
    assert train(second).ok


@pytest.mark.parametrize("name", ["kohya", "embedded"])
def test_kohya_and_the_embedded_trainer_launch_one_command_themselves(
    make_plan: MakePlan, name: str
) -> None:
    plan = make_plan(trainer=name)
    start = Start("python", ("--cpu",), "train.py", plan.run_dir)
    (only,) = trainer(name).commands(None, start)  # type: ignore[arg-type]
    assert only.argv[:4] == ("python", "-m", "accelerate.commands.launch", "--cpu")
    assert [one.argv for one in launching.job_of(plan).commands] == [plan.argv]
    train(plan)
    assert read_record(plan.run_dir).commands == ()
    assert '"commands"' not in (plan.run_dir / "record.json").read_text()
