"""Disks that are full, closed or flooded, and clocks that run backwards: real file systems, real processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pace import bytes_read

from lorakit.cli.main import main
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.run.train import train
from lorakit.runs.find import info
from lorakit.runs.record import read_record
from lorakit.trainers.base import Command

PR_CAPBSET_DROP = 24
linux = pytest.mark.skipif(
    sys.platform != "linux" and os.geteuid() == 0,
    reason="only Linux can bind root by permission bits",
)
TRAIN = "import pickle, sys; from lorakit.run.train import train; sys.exit(train(pickle.load(open(sys.argv[1], 'rb'))).state)"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip(
            "this machine does not let a test mount a file system; test_train.py meets the same limit by RLIMIT_FSIZE"
        )
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def on(place: Path, plan: Plan) -> Plan:
    """The same plan with its run folder there."""
    run_dir = place / "runs" / "fox" / plan.run_dir.name
    words = tuple(word.replace(str(plan.run_dir), str(run_dir)) for word in plan.argv)
    return replace(plan, run_dir=run_dir, commands=(Command(words),))


@pytest.mark.slow
def test_a_disk_that_fills_while_saving(
    make_plan: Any,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (small_disk / "full").write_bytes(bytes(700_000))
    plan = on(small_disk, make_plan(steps=400, env={"SAVE_EVERY": "1"}))
    outcome = train(plan)
    assert outcome.state == "failed"
    assert outcome.ending.diagnosis is not None
    assert outcome.ending.diagnosis.rule == "disk-full"
    assert outcome.saved
    assert read_record(plan.run_dir).state == "failed"  # room was kept for that
    monkeypatch.chdir(small_disk)
    for command in (
        ["runs"],
        ["log"],
        ["explain"],
        ["watch", "--once"],
        ["stop"],
    ):  # nothing can be written, everything can be read
        assert main(command) in {0, 4}, command
    said = capsys.readouterr()
    assert "Cause: the disk" in said.out
    assert "Remedy: df -h" in said.out


@pytest.mark.slow
def test_a_full_disk_while_lorakit_writes_its_record(make_plan: Any, small_disk: Path) -> None:
    plan = on(small_disk, make_plan(steps=6, pause=0.2))
    told: list[Event] = []

    def fill(event: Event) -> None:
        told.append(event)
        if event.step == 2:
            with (
                contextlib.suppress(OSError),
                (small_disk / "full").open("wb", buffering=0) as file,
            ):
                while True:
                    file.write(bytes(4096))

    assert train(plan, emit=fill).state == "failed"
    assert read_record(plan.run_dir).state == "failed"
    assert read_record(plan.run_dir).outcome.step == 6
    assert not list(plan.run_dir.glob(".room*"))


def without_privileges() -> None:
    """In the child, before it starts: permission bits bind root too, once these two capabilities cannot be had any more."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def bound_by_permissions(plan: Plan, folder: Path) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, whose writing the permission bits decide on."""
    (folder / "plan.pickle").write_bytes(pickle.dumps(plan))
    return subprocess.run(
        [sys.executable, "-c", TRAIN, str(folder / "plan.pickle")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_privileges,
    )


@pytest.mark.slow
@linux
def test_a_read_only_output_is_a_failure_with_its_cause(make_plan: Any, tmp_path: Path) -> None:
    plan = make_plan(steps=2)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    plan = replace(
        plan,
        commands=(
            Command(
                tuple(str(closed) if word == str(plan.output_dir) else word for word in plan.argv)
            ),
        ),
    )
    done = bound_by_permissions(plan, tmp_path)
    assert done.stderr.strip() == "failed"
    outcome = read_record(plan.run_dir).outcome
    assert outcome.diagnosis and outcome.diagnosis.rule == "read-only"
    assert str(closed) in outcome.diagnosis.cause


@linux
def test_a_project_that_cannot_be_written_is_told_before_anything_starts(
    make_plan: Any, project: Path
) -> None:
    plan = make_plan(steps=2)
    (project / "runs").mkdir(mode=0o500)
    done = bound_by_permissions(plan, project)
    assert "Permission denied; nothing was started." in done.stderr
    assert not plan.run_dir.exists()


def test_a_clock_set_back_by_a_day_in_the_middle_of_a_run(
    make_plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = time.time

    def set_back(event: Event) -> None:
        if event.step == 2:
            monkeypatch.setattr(time, "time", lambda: true() - 86_400)

    plan = make_plan(steps=4, pause=0.05)
    outcome = train(plan, emit=set_back)
    assert outcome.state == "done"
    assert 0 <= outcome.ending.duration_s < 60
    row = info(plan.run_dir)
    assert (row.state, row.step) == ("done", 4)
    assert row.age_s == 0
    seconds = [
        float(line.partition('"seconds": ')[2].rstrip("}"))
        for line in (plan.run_dir / "progress.jsonl").read_text().splitlines()
    ]
    assert seconds == sorted(seconds)


@pytest.mark.slow
@pytest.mark.long
def test_a_log_of_100_megabytes_costs_no_memory_and_every_command_stays_quick(
    make_plan: Any,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import resource

    plan = make_plan("floods.py", steps=4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert train(plan).state == "done"
    assert (plan.run_dir / "log.txt").stat().st_size > 100_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kilobytes
    monkeypatch.chdir(project)
    for command in (["log"], ["explain"], ["runs"], ["watch", "--once"]):
        read = bytes_read(lambda: main(command))  # noqa: B023 (called at once)
        assert read < 9_000_000, command
    assert (
        capsys.readouterr().out.count("caching latents") < 10
    )  # a bar is shown as it was last drawn
