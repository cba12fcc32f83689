"""One job array a sweep: the script as text, and a real one-node cluster where Slurm is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_runs import MakeSweep

from lorakit.cli.main import main
from lorakit.engines.slurm import array_script, submit
from lorakit.engines.sweep import PointResult, read_sweep, results_of
from lorakit.errors import LorakitError, SetupError
from lorakit.runs.record import read_record
from lorakit.weights.finite import inspect

NODE = Path(__file__).resolve().parents[2] / "tools" / "slurm_node.sh"


def test_the_script_is_one_array_that_is_requeued_and_execs_one_point(
    make_sweep: MakeSweep, maya: Path
) -> None:
    folder = make_sweep("network_dim=8,16,32")
    sweep = read_sweep(folder)
    points = [sweep.points[0], sweep.points[2]]
    text = array_script(maya.parents[1], folder, sweep, points, "--partition=gpu --time=1:00:00")
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    for one in ("--array=0,2", "--requeue", "--partition=gpu", "--time=1:00:00"):
        assert f"#SBATCH {one}" in lines
    assert "points=(rank-01 rank-02 rank-03)" in lines
    assert lines[-1].startswith("exec ") and lines[-1].endswith('"${points[$SLURM_ARRAY_TASK_ID]}"')
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_without_slurm_it_is_said(
    make_sweep: MakeSweep, maya: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep("network_dim=8,16")
    monkeypatch.setenv("PATH", str(maya.parent))
    sweep = read_sweep(folder)
    with pytest.raises(SetupError, match="There is no sbatch here"):
        submit(maya.parents[1], folder, sweep, sweep.points, "")


def test_two_people_who_submit_the_same_sweep_submit_one_job(
    make_sweep: MakeSweep, maya: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep("network_dim=8,16")
    there = maya.parents[1] / "bin"
    there.mkdir()
    for name, said in (("sbatch", "41"), ("squeue", "0 PENDING")):
        (there / name).write_text(f"#!/bin/sh\necho {said}\n")
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    sweep = read_sweep(folder)
    assert submit(maya.parents[1], folder, sweep, sweep.points, "") == "41"
    with pytest.raises(LorakitError, match="submitted already: job 41"):
        submit(maya.parents[1], folder, sweep, sweep.points, "")


def test_what_sbatch_refuses_is_said_with_its_words(
    make_sweep: MakeSweep, maya: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep("network_dim=8,16")
    there = maya.parents[1] / "bin"
    there.mkdir()
    (there / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n"
    )
    (there / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    sweep = read_sweep(folder)
    with pytest.raises(SetupError, match="sbatch took no job: invalid partition"):
        submit(maya.parents[1], folder, sweep, sweep.points, "--partition=x")


def test_a_point_that_is_not_there_is_said(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep("network_dim=8,16")
    assert main(["sweep", "run", "rank", "--only", "rank-09"]) == 1
    assert "rank has no point 'rank-09'" in capsys.readouterr().err


@pytest.mark.parametrize(("job", "code"), [({"SLURM_JOB_ID": "7"}, 0), ({}, 143)])
def test_the_trainer_takes_slurms_signal_and_lorakits_for_one(
    job: dict[str, str], code: int
) -> None:
    """Slurm signals every process of a job, and lorakit then asks its trainer, too."""
    lines = (
        "import os, signal",
        "from lorakit.embedded.training import signals",
        "signals.listen()",
        "[os.kill(os.getpid(), one) for one in (signal.SIGTERM, signal.SIGTERM)]",
        "assert signals.caught()",
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env={**env, **job})
    assert done.returncode == code


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("no Slurm here that we may start (apt-get install slurm-wlm munge, as root)")
    place = tmp_path / "cluster"
    subprocess.run([str(NODE), "start", str(place)], check=True)
    monkeypatch.setenv("SLURM_CONF", str(place / "slurm.conf"))
    yield place
    subprocess.run([str(NODE), "stop", str(place)], check=True)
    until = time.monotonic() + 60
    while (place / "slurmctld.pid").exists() and time.monotonic() < until:
        time.sleep(0.2)


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def wait(toy: Path, what: Callable[[list[PointResult]], bool]) -> list[PointResult]:
    """Until the sweep's points are so far."""
    sweep, until = read_sweep(toy / "sweeps" / "seeds"), time.monotonic() + 500
    while time.monotonic() < until:
        results = results_of(toy, sweep)
        if what(results):
            return results
        time.sleep(0.3)
    logs = [path.read_text()[-1500:] for path in (toy / "sweeps/seeds/slurm").glob("*.log")]
    raise AssertionError((results, logs))


@pytest.mark.long
@pytest.mark.slow
def test_on_a_real_cluster_six_points_survive_a_requeue_a_cancelled_task_and_a_drained_node(
    toy: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--vary", "seed=1,2,3,4,5,6", "--set", "max_train_steps=200", "--name", "seeds"]
    assert main(["sweep", "ball", *words]) == 0
    assert main(["sweep", "run", "seeds", "--on", "slurm"]) == 0
    job = (toy / "sweeps/seeds/slurm/job").read_text().strip()
    wait(toy, lambda found: any(one.step >= 20 for one in found))
    scontrol("requeue", f"{job}_0")  # as a preemption does
    wait(toy, lambda found: found[1].step >= 20)
    subprocess.run(["scancel", f"{job}_1"], check=True)
    capsys.readouterr()
    assert main(["sweep", "status", "seeds"]) == 0
    assert f"Slurm job {job}: " in capsys.readouterr().out
    node = socket.gethostname().partition(".")[0]
    wait(toy, lambda found: found[2].step >= 20)
    scontrol("update", f"NodeName={node}", "State=DRAIN", "Reason=proof")
    scontrol("requeue", f"{job}_2")  # what an administrator does before the node goes down
    wait(toy, lambda found: found[2].state == "interrupted")
    scontrol("update", f"NodeName={node}", "State=RESUME")
    others = (0, 2, 3, 4, 5)
    results = wait(toy, lambda found: all(found[one].state == "done" for one in others))
    assert results[1].state == "interrupted" and results[1].step < 200
    assert main(["sweep", "run", "seeds"]) == 0  # here: the cancelled one goes on
    lora = Path("output")
    for name, moved in (("seeds-01", results[0]), ("seeds-03", results[2])):
        assert moved.run_dir is not None
        assert read_record(moved.run_dir).parts[0].from_step  # resumed, not begun anew
        assert main(["train", f"sweeps/seeds/{name}.toml"]) == 0
        peace = max((toy / "runs" / name).iterdir())
        assert peace != moved.run_dir
        pair = [inspect(one / lora / f"{name}.safetensors") for one in (moved.run_dir, peace)]
        assert pair[0].tensors_sha256 == pair[1].tensors_sha256
    capsys.readouterr()
    for one in ("status", "table"):
        assert main(["sweep", one, "seeds"]) == 0
    said = capsys.readouterr().out
    assert "6 points: 6 done" in said
    print(said, *(path.read_text() for path in sorted((toy / "sweeps/seeds/slurm").glob("*.log"))))
