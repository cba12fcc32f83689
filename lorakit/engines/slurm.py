"""A sweep as one Slurm job array: what is requeued goes on, `scancel` ends in good order."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lorakit.engines.sweep import Sweep, SweepPoint
from lorakit.errors import LorakitError, SetupError
from lorakit.files import write_atomic
from lorakit.proc import Answer, ask
from lorakit.user_files import Unreadable, read_text

FOLDER, SCRIPT, JOB = "slurm", "array.sh", "job"
BEFORE_END_S = 180  # of a time limit: what a stop in good order may take


def submit(root: Path, folder: Path, sweep: Sweep, points: Sequence[SweepPoint], more: str) -> str:
    """The job array's number. Refused while an earlier one is there."""
    if old := submitted_job(folder):
        what = f"{sweep.name} is submitted already: job {old} waits or runs."
        raise LorakitError(what, hint=f"lorakit sweep status {sweep.name}    # or: scancel {old}")
    script = folder / FOLDER / SCRIPT
    write_atomic(script, array_script(root, folder, sweep, points, more))
    answer = _asked(["sbatch", "--parsable", str(script)])
    if answer.code:
        said = (answer.err.strip() or answer.out.strip()).removeprefix("sbatch: error: ")
        hint = "--sbatch '--partition=P --gres=gpu:1 --time=4:00:00' says what a point needs."
        raise SetupError(f"sbatch took no job: {said}", hint=hint)
    job = answer.out.strip().partition(";")[0]
    write_atomic(folder / FOLDER / JOB, f"{job}\n")
    return job


def array_script(
    root: Path, folder: Path, sweep: Sweep, points: Sequence[SweepPoint], more: str
) -> str:
    """`exec`, so that Slurm's signals reach lorakit itself. The log of a requeued task grows."""
    logs = (folder / FOLDER / "%a.log").as_posix().replace(" ", "\\ ")
    numbers = [sweep.points.index(point) for point in points]
    extra = "".join(f"#SBATCH {word}\n" for word in shlex.split(more))
    names = " ".join(shlex.quote(point.name) for point in sweep.points)
    words = [sys.executable, "-m", "lorakit", "sweep", "run", sweep.name, "--only"]
    return f"""\
#!/bin/bash
#SBATCH --job-name=lorakit-{sweep.name}
#SBATCH --array={",".join(map(str, numbers))}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{BEFORE_END_S}
#SBATCH --output={logs}
{extra}# Written by lorakit: sbatch {shlex.quote(str(folder / FOLDER / SCRIPT))}
set -eu
cd {shlex.quote(str(root))}
points=({names})
echo "task $SLURM_ARRAY_TASK_ID on $(hostname), start ${{SLURM_RESTART_COUNT:-0}}"
exec {shlex.join(words)} "${{points[$SLURM_ARRAY_TASK_ID]}}"
"""


def submitted_job(folder: Path) -> str:
    """The job that was submitted for the sweep, while Slurm still has it waiting or running."""
    try:
        job = read_text(folder / FOLDER / JOB).strip()
    except Unreadable:
        return ""
    return job if job.isdigit() and tasks_of(job) else ""


def tasks_of(job: str) -> list[tuple[str, str]]:
    """Number and state of each task that Slurm still knows of."""
    answer = _asked(["squeue", "-h", "-r", "-j", job, "-o", "%K %T"])
    rows = (line.split() for line in answer.out.splitlines())
    return [(row[0], row[1].lower()) for row in rows if len(row) == 2]


def _asked(argv: Sequence[str]) -> Answer:
    answer = ask(argv, timeout_s=60)
    if answer.code == 127:
        hint = "Run this on a login node of the cluster; lorakit doctor names the engines found."
        raise SetupError(f"There is no {argv[0]} here.", hint=hint)
    return answer
