"""Who is who among processes, with real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pace import until

from lorakit.processes import LINUX, MARK, Identity, members, start_time

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        SLEEP, stdout=subprocess.PIPE, env={**os.environ, MARK: mark}, start_new_session=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.mark.skipif(not LINUX, reason="ticks since the boot are Linux's")
def test_a_start_time_is_the_kernels_own_number_as_in_records_of_before() -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert start_time(os.getpid()) == fields[19]


def test_a_zombie_has_ended_and_is_no_member() -> None:
    with sleeper("zombie") as child:
        identity = Identity.of(child.pid, "zombie")
        assert [one.pid for one in members(identity)] == [child.pid]
        child.kill()
        until(lambda: not identity.alive)  # before wait() it stays in the table, as a zombie
        assert start_time(child.pid) is None and members(identity) == []


def test_a_member_is_found_by_its_mark_after_its_leader_ended_and_no_stranger_is() -> None:
    with sleeper("one run") as leader, sleeper("one run") as worker, sleeper("another") as other:
        identity = Identity.of(leader.pid, "one run")
        leader.kill()
        leader.wait()
        assert [(one.pid, one.group) for one in members(identity)] == [(worker.pid, worker.pid)]
        assert members(identity)[0].resident_bytes > 1 << 20
        worker.kill()
        other.kill()


def test_a_pid_that_another_program_has_now_is_not_the_leader() -> None:
    mine = Identity.of(os.getpid())
    before = Identity(mine.pid, "1", mine.boot_id, "no such mark")
    assert mine.alive and not before.alive
    assert members(before) == []


@pytest.mark.slow
def test_a_child_that_ends_with_its_parent_does_so_however_the_parent_ends(tmp_path: Path) -> None:
    child = (
        "from lorakit.processes import end_with_parent as end; import time; end(); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        time.sleep(1)
        running.kill()
    until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    )
