"""kill -9 of anybody, vanished terminals, sleep, full disks: real processes, real signals."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.processes import Identity, members
from lorakit.run import queue
from lorakit.run.resume.adopt import adopt, close_dead_run
from lorakit.run.train import train
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import info, last_progress, live_state
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record

pytestmark = pytest.mark.slow
ON_SCREEN = """import pickle, sys
from lorakit.cli.terminal.ending import say_outcome
from lorakit.cli.terminal.screen import screen
from lorakit.run.train import train
with screen() as teller:
    outcome = train(pickle.load(open(sys.argv[1], 'rb')), emit=teller)
sys.exit(say_outcome(outcome))
"""
UNSAID = """import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from lorakit.cli.terminal.screen import Bar
from lorakit.show import say
bar = Bar()
os.write(1, b"ready")
try:
    while os.write(1, b"."):
        time.sleep(0.01)
except OSError:  # it is closed
    say("a line that nobody hears")
sys.stderr.write("half a line")
sys.exit(7)
"""
LORAKIT = "import pickle, sys; from lorakit.run.train import train; print(train(pickle.load(open(sys.argv[1], 'rb'))).state)"


def until(true: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A lorakit of its own, as in another terminal."""

    def started(plan: Plan, wait_s: float = 10) -> subprocess.Popen[str]:
        copyreg.pickle(MappingProxyType, lambda mapping: (MappingProxyType, (dict(mapping),)))
        (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
        process = subprocess.Popen(
            [sys.executable, "-c", LORAKIT, str(tmp_path / "plan.pickle")],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        until(lambda: last_progress(plan.run_dir).step, wait_s)
        return process

    return started


def leader(plan: Plan) -> Identity:
    return read_record(plan.run_dir).process


def test_lorakit_killed_the_training_goes_on_and_is_taken_over(make_plan: Any, start: Any) -> None:
    plan = make_plan(steps=40, pause=0.05)
    lorakit = start(plan)
    lorakit.kill()
    lorakit.communicate()
    assert info(plan.run_dir).state == "unattended"
    step = last_progress(plan.run_dir).step
    outcome = adopt(plan.run_dir)
    assert outcome.state == "done"
    assert step < 40
    assert last_progress(plan.run_dir).step == 40
    assert read_record(plan.run_dir).state == "done"


def test_lorakit_killed_and_the_run_ended_unseen_but_well(make_plan: Any, start: Any) -> None:
    plan = make_plan(steps=20, pause=0.05)
    lorakit = start(plan)
    lorakit.kill()
    lorakit.communicate()
    until(lambda: info(plan.run_dir).state == "dead")
    close_dead_run(plan.run_dir)
    outcome = Outcome(plan.run_dir, read_record(plan.run_dir))
    assert outcome.state == "done"


def test_everything_killed_is_dead_and_says_when(make_plan: Any, start: Any) -> None:
    plan = make_plan(steps=400, pause=0.05)
    lorakit = start(plan)
    lorakit.kill()
    lorakit.communicate()
    os.kill(leader(plan).pid, signal.SIGKILL)
    until(lambda: info(plan.run_dir).state == "dead")
    close_dead_run(plan.run_dir)
    outcome = Outcome(plan.run_dir, read_record(plan.run_dir))
    assert outcome.state == "dead"
    assert "while no lorakit watched" in outcome.ending.reason
    assert info(plan.run_dir).state == "dead"


def test_a_restart_of_the_machine_is_recognised(make_plan: Any) -> None:
    plan = make_plan("dies_silently.py")
    train(plan)
    path = plan.run_dir / "record.json"
    data = json.loads(path.read_text()) | {"state": "running"}
    data["process"]["boot_id"] = data["supervisor"]["boot_id"] = "the boot before"
    path.write_text(json.dumps(data))
    close_dead_run(plan.run_dir)
    outcome = Outcome(plan.run_dir, read_record(plan.run_dir))
    assert outcome.ending.diagnosis is not None
    assert outcome.ending.diagnosis.rule == "reboot"


def test_the_trainer_killed_under_a_launcher(make_plan: Any, start: Any) -> None:
    base = make_plan()
    plan = make_plan(
        argv=[
            base.argv[0],
            str(Path(base.argv[1]).with_name("orphan_maker.py")),
            "trains.py",
            base.argv[2],
            "fox",
            "400",
            "0.05",
        ]
    )
    lorakit = start(plan)
    os.kill(int((plan.run_dir / "output" / "trainer.pid").read_text()), signal.SIGKILL)
    assert lorakit.communicate(timeout=20)[0].strip() == "failed"
    assert read_record(plan.run_dir).outcome.signal == signal.SIGKILL


def test_a_data_worker_killed_is_named(make_plan: Any) -> None:
    plan = make_plan("loses_worker.py")

    def kill(event: Event) -> None:
        pid = plan.run_dir / "output" / "worker.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)
            pid.unlink()

    threading.Timer(0.5, kill, (Event("note"),)).start()
    outcome = train(plan, emit=kill)
    assert outcome.state == "failed"
    assert outcome.ending.diagnosis is not None
    assert outcome.ending.diagnosis.rule == "worker-died"
    assert members(leader(plan)) == []


def test_a_real_data_worker_of_torch_killed_is_named(make_plan: Any) -> None:
    pytest.importorskip("torch")
    plan = make_plan("torch_worker.py", steps=100)
    killed: list[int] = []

    def kill(event: Event) -> None:
        if event.kind == "step" and not killed:
            killed.append(int((plan.run_dir / "output" / "worker.pid").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    outcome = train(plan, emit=kill)
    assert outcome.ending.diagnosis is not None
    assert (outcome.state, outcome.ending.diagnosis.rule) == ("failed", "worker-died")
    assert str(killed[0]) in outcome.ending.diagnosis.cause
    assert members(leader(plan)) == []


def test_the_real_accelerate_killed_leaves_nobody(make_plan: Any, start: Any) -> None:
    pytest.importorskip("accelerate")
    base = make_plan(steps=400, pause=0.05)
    plan = make_plan(
        argv=[
            base.argv[0],
            "-m",
            "accelerate.commands.launch",
            "--num_processes",
            "1",
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--cpu",
            *base.argv[1:],
        ]
    )
    lorakit = start(plan, wait_s=60)
    assert len(members(leader(plan))) == 2
    os.kill(leader(plan).pid, signal.SIGKILL)
    assert lorakit.communicate(timeout=20)[0].strip() == "failed"
    assert members(leader(plan)) == []
    assert "left the trainer running" in read_record(plan.run_dir).outcome.reason


def test_the_launcher_killed_leaves_nobody(make_plan: Any, start: Any) -> None:
    base = make_plan()
    plan = make_plan(
        argv=[
            base.argv[0],
            str(Path(base.argv[1]).with_name("orphan_maker.py")),
            "trains.py",
            base.argv[2],
            "fox",
            "400",
            "0.05",
        ]
    )
    lorakit = start(plan)
    os.kill(leader(plan).pid, signal.SIGKILL)
    assert lorakit.communicate(timeout=20)[0].strip() == "failed"
    assert members(leader(plan)) == []
    assert "left the trainer running" in read_record(plan.run_dir).outcome.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_a_lorakit_of_its_own_leaves_no_process(
    make_plan: Any, start: Any, number: int
) -> None:
    plan = make_plan(steps=400, pause=0.05)
    lorakit = start(plan)
    lorakit.send_signal(number)
    assert lorakit.communicate(timeout=20)[0].strip() == "interrupted"
    assert members(leader(plan)) == []


def closed_on(word: bytes, *program: str) -> int:
    """The exit code of a program whose terminal is closed as soon as the word is on it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", *program])
    seen = b""
    while word not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_closed_terminal_ends_the_run_in_good_order(make_plan: Any, tmp_path: Path) -> None:
    """A pseudo-terminal with the bar on it, closed as a window is: lorakit is told by SIGHUP and every write to it fails."""
    plan = make_plan(steps=400, pause=0.05)
    copyreg.pickle(MappingProxyType, lambda mapping: (MappingProxyType, (dict(mapping),)))
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
    assert closed_on(b"loss", ON_SCREEN, str(tmp_path / "plan.pickle")) == 130
    record = read_record(plan.run_dir)
    assert (record.state, record.outcome.asked_by) == ("interrupted", signal.SIGHUP)
    assert (plan.run_dir / "report.html").is_file()
    assert members(leader(plan)) == []


def test_what_a_bar_leaves_unsaid_on_a_closed_terminal_changes_no_exit_code() -> None:
    assert closed_on(b"ready", UNSAID) == 7


def test_sleep_of_the_whole_machine_changes_nothing(make_plan: Any, start: Any) -> None:
    plan = make_plan(steps=60, pause=0.03)
    lorakit = start(plan)
    pid = leader(plan).pid
    os.kill(pid, signal.SIGSTOP)
    lorakit.send_signal(signal.SIGSTOP)
    time.sleep(1)
    assert info(plan.run_dir).state == "running"
    lorakit.send_signal(signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)
    assert lorakit.communicate(timeout=30)[0].strip() == "done"


def test_a_stop_reaches_a_sleeping_trainer_too(make_plan: Any, start: Any) -> None:
    plan = make_plan(steps=400, pause=0.05)
    lorakit = start(plan)
    os.kill(leader(plan).pid, signal.SIGSTOP)
    lorakit.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    lorakit.send_signal(signal.SIGTERM)
    assert lorakit.communicate(timeout=20)[0].strip() == "interrupted"


def test_two_trainings_of_one_recipe_at_once_do_not_meet(make_plan: Any, start: Any) -> None:
    first, second = make_plan(steps=30, pause=0.05), make_plan(steps=10, run="20260101-120000-2")
    lorakit = start(first)
    assert train(second).state == "done"
    assert lorakit.communicate(timeout=30)[0].strip() == "done"


@pytest.mark.usefixtures("quick")
def test_an_adopted_run_can_be_stopped(make_plan: Any, start: Any) -> None:
    plan = make_plan("ignores_interrupt.py", steps=400, pause=0.05)
    lorakit = start(plan)
    lorakit.kill()
    lorakit.communicate()
    (plan.run_dir / STOP_REQUEST).write_text('{"mode": "now"}')
    outcome = adopt(plan.run_dir)
    assert outcome.state == "stopped"
    assert live_state(read_record(plan.run_dir)) == "stopped"


QUEUE = """import sys
from lorakit.cli import queue
from lorakit.cli.queue import run
from lorakit.cli.train import Result
import lorakit.cli.queue.run as queue_run, pickle
from pathlib import Path
from lorakit.cli.terminal.ending import say_outcome
from lorakit.run.train import train
def train_one(recipe, *, begun, **_):
    plan = pickle.loads(Path(f'{recipe}.pickle').read_bytes())
    begun(plan.run_dir)
    outcome = train(plan)
    return Result(recipe, say_outcome(outcome), outcome)
queue_run.train_one = train_one        # the plan is made by hand, as everywhere here
import argparse
sys.exit(queue_run.run(argparse.Namespace(json=False, notify=None, share_device=True)))
"""


def test_a_queue_killed_in_the_middle_goes_on_with_the_run_it_had_begun(
    make_plan: Any, project: Path
) -> None:
    copyreg.pickle(MappingProxyType, lambda mapping: (MappingProxyType, (dict(mapping),)))
    for name, steps in (("fox", 60), ("owl", 3)):
        recipe = project / "recipes" / f"{name}.toml"
        recipe.write_text('preset = "sd15"\n')
        Path(f"{recipe}.pickle").write_bytes(
            pickle.dumps(make_plan(steps=steps, pause=0.05, name=name))
        )
        queue.add(project, recipe)
    plan = make_plan(steps=60, pause=0.05)
    command = [sys.executable, "-c", QUEUE]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.Popen(command, cwd=project, env=env, stderr=subprocess.DEVNULL)
    until(lambda: last_progress(plan.run_dir).step)
    first.kill()
    first.wait()
    assert [(item.state, bool(item.run)) for item in queue.listed(project)] == [
        ("running", True),
        ("waiting", False),
    ]
    second = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert second.returncode == 0
    assert "trains on; its queue was killed. Following it." in second.stderr
    assert [item.state for item in queue.listed(project)] == ["done", "done"]
    assert [path.name for path in plan.run_dir.parent.iterdir()] == [
        plan.run_dir.name
    ]  # not trained twice
