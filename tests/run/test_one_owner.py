"""A run has one owner: of two that would go on with it, or take it over, one does, and the other is told who."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
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
from pace import until

from lorakit.cli.main import main
from lorakit.errors import LorakitError
from lorakit.events import Event
from lorakit.owner import Owned
from lorakit.run.resume.adopt import adopt
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import own_run, train
from lorakit.runs.find import info, last_progress
from lorakit.runs.record import read_record

pytestmark = pytest.mark.slow
TRIALS = 3
LORAKIT = "import pickle, sys; from lorakit.run.train import train; train(pickle.load(open(sys.argv[1], 'rb')))"
# Both have all imported before either begins.
AT_ONCE = """import sys, time
from pathlib import Path
from lorakit.cli.main import main
import filelock, psutil, lorakit.cli.resume, lorakit.cli.watch, lorakit.cli.stop
import lorakit.run.resume.stages, lorakit.proof.verify, lorakit.cli.terminal.screen
print("ready", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.001)
sys.exit(main(sys.argv[2:]))
"""


class AtOnce:
    """Commands that wait to begin in the same moment."""

    def __init__(self, place: Path, *commands: str) -> None:
        self._go = place / f"go-{time.monotonic_ns()}"
        self._running = [
            subprocess.Popen(
                [sys.executable, "-c", AT_ONCE, str(self._go), *command.split()],
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in commands
        ]
        for one in self._running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"

    def ends(self) -> list[tuple[int, str]]:
        """Exit code and what was said."""
        self._go.touch()
        said = [one.communicate(timeout=60)[1] for one in self._running]
        return [(one.returncode, words) for one, words in zip(self._running, said, strict=True)]


def steps_of(run_dir: Path) -> list[int]:
    rows = (run_dir / "progress.jsonl").read_text().splitlines()
    return [json.loads(row)["step"] for row in rows]


def ctrl_c_at(step: int) -> Any:
    pressed: list[int] = []

    def emit(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= step and not pressed:
            pressed.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    return emit


@pytest.fixture
def unattended(make_plan: Any, tmp_path: Path) -> Callable[[str], Path]:
    """A training whose lorakit was killed."""

    def made(run: str) -> Path:
        plan = make_plan(steps=60, pause=0.05, run=run)
        copyreg.pickle(MappingProxyType, lambda mapping: (MappingProxyType, (dict(mapping),)))
        (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
        words = [sys.executable, "-c", LORAKIT, str(tmp_path / "plan.pickle")]
        process = subprocess.Popen(words, start_new_session=True)
        until(lambda: last_progress(plan.run_dir).step)
        process.kill()
        process.wait()
        assert info(plan.run_dir).state == "unattended"
        run_dir: Path = plan.run_dir
        return run_dir

    return made


def test_of_two_resumes_one_trains(make_plan: Any, project: Path) -> None:
    for trial in range(TRIALS):
        plan = make_plan(
            "saves_when_asked.py",
            steps=40,
            pause=0.02,
            trainer="embedded",
            run=f"20260101-12000{trial}",
        )
        stopped = train(plan, emit=ctrl_c_at(5))
        assert stopped.state == "interrupted"
        name = f"fox/{plan.run_dir.name}"
        ends = AtOnce(project, f"resume {name} --anyway", f"resume {name} --anyway").ends()
        assert sorted(code for code, _ in ends) == [0, 1], ends
        told = next(words for code, words in ends if code == 1)
        assert f"{name} is still running: lorakit resume (pid " in told
        assert "since 20" in told
        assert "nothing was done" in told
        assert f"lorakit watch {name}" in told
        record = read_record(plan.run_dir)
        assert (record.state, len(record.parts)) == ("done", 1)
        steps = steps_of(plan.run_dir)
        assert steps == sorted(set(steps))


def test_of_two_watches_one_takes_over(unattended: Callable[[str], Path], project: Path) -> None:
    for trial in range(TRIALS):
        name = f"fox/20260101-12000{trial}"
        both = AtOnce(project, f"watch {name}", f"watch {name}")
        run_dir = unattended(Path(name).name)
        ends = both.ends()
        assert 0 in [code for code, _ in ends], ends
        for words in (words for code, words in ends if code != 0):
            assert f"{name} is still running: lorakit watch (pid " in words
        assert read_record(run_dir).state == "done"
        steps = steps_of(run_dir)
        assert steps == sorted(set(steps)), "written down twice"


def test_a_stop_beside_a_watch_is_obeyed_by_whoever_owns_the_run(
    unattended: Callable[[str], Path], project: Path
) -> None:
    for trial in range(TRIALS):
        name = f"fox/20260101-12000{trial}"
        three = AtOnce(project, f"watch {name}", f"stop {name} --now", f"stop {name} --now")
        run_dir = unattended(Path(name).name)
        ends = three.ends()
        assert [code for code, _ in ends[1:]] == [0, 0], ends
        assert read_record(run_dir).state == "stopped"
        steps = steps_of(run_dir)
        assert steps == sorted(set(steps)), "written down twice"


def test_whoever_comes_second_does_nothing_at_all(make_plan: Any) -> None:
    plan = make_plan("dies_silently.py")
    train(plan)
    before = (plan.run_dir / "record.json").read_bytes()
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with own_run(plan.run_dir, "lorakit resume"):
            taken.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    try:
        for go_on in (resume_run, adopt):
            with pytest.raises(Owned, match=rf"lorakit resume \(pid {os.getpid()}\)"):
                go_on(plan.run_dir)
    finally:
        over.set()
        holder.join()
    assert (plan.run_dir / "record.json").read_bytes() == before
    with pytest.raises(LorakitError, match="no intact state"):
        resume_run(plan.run_dir)


def test_a_training_that_runs_names_its_owner(
    make_plan: Any,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project)
    plan = make_plan(steps=40, pause=0.05)
    told: list[int] = []

    def ask() -> None:
        until(lambda: last_progress(plan.run_dir).step if plan.run_dir.is_dir() else 0)
        told.append(main(["resume"]))

    asking = threading.Thread(target=ask)
    asking.start()
    assert train(plan).state == "done"
    asking.join()
    assert told == [1]
    assert f"is still running: lorakit train (pid {os.getpid()})" in capsys.readouterr().err
