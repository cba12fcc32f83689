"""What following costs: 5,000 progress lines a second as a share of one core, and `lorakit runs`
over 1,000 run folders.

Named peers in the same run: `tail -f` piped into `wc -l`, and `python -c pass`. Prints ratios,
exits 1 over budget.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from lorakit.run.watch.follow import Follower
from lorakit.runs.ran_from import StepCounts, TrainerUsed
from lorakit.runs.record import Record

LINES_A_SECOND, SECONDS, FOLDERS = 5000, 6, 1000
SHARE_BUDGET, RUNS_BUDGET_S = 0.05, 0.5
GLANCE_S = 0.1
ROOT = Path(__file__).parent.parent


def write_lines(path: Path) -> None:
    """As tqdm does: two frames a step, carriage returns."""
    total, step = LINES_A_SECOND * SECONDS // 2, 0
    began = time.monotonic()
    with path.open("ab", buffering=0) as file:
        while step < total:
            frames = []
            for _ in range(LINES_A_SECOND // 200):
                step += 1
                head = (
                    f"steps: {100 * step // total:3d}%|{'█' * 10}| {step}/{total} [00:12<00:48, "
                    " 2.50it/s"
                )
                frames += [f"\r{head}]", f"\r{head}, avr_loss={0.1 + 1 / step:.3g}]"]
            file.write("".join(frames).encode())
            time.sleep(max(0.0, began + 2 * step / LINES_A_SECOND - time.monotonic()))


def follow(folder: Path) -> float:
    """CPU seconds of this process (the writer is another one) while it follows."""
    steps = StepCounts(total=LINES_A_SECOND * SECONDS // 2)
    follower = Follower(folder, Record(trainer=TrainerUsed("kohya"), steps=steps))
    writer = subprocess.Popen([sys.executable, __file__, "--write", str(folder / "log.txt")])
    while not (folder / "log.txt").exists():
        time.sleep(0.01)
    began, cpu = time.monotonic(), time.process_time()
    while writer.poll() is None:
        follower.poll(time.monotonic() - began)
        time.sleep(GLANCE_S)
    follower.finish(time.monotonic() - began)
    assert follower.step == LINES_A_SECOND * SECONDS // 2, follower.step
    return (time.process_time() - cpu) / (time.monotonic() - began)


def peer(folder: Path) -> float:
    """CPU share of `tail -f FILE | wc -l` over the same lines."""
    log = folder / "peer.txt"
    log.touch()
    before = os.times()
    began = time.monotonic()
    tail = subprocess.Popen(
        [shutil.which("tail") or "tail", "-n", "+1", "-f", str(log)], stdout=subprocess.PIPE
    )
    count = subprocess.Popen(
        [shutil.which("wc") or "wc", "-l"], stdin=tail.stdout, stdout=subprocess.DEVNULL
    )
    writer = threading.Thread(target=write_lines, args=(log,))
    writer.start()
    writer.join()
    tail.terminate()
    tail.wait()
    count.wait()
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    ) / (time.monotonic() - began)


def make_folders(root: Path) -> None:
    settings = {
        key: {"value": number, "source": "preset sdxl"}
        for number, key in enumerate(f"option_{n}" for n in range(60))
    }
    for number in range(FOLDERS):
        folder = root / "runs" / f"name{number % 20}" / f"20260101-{number:06d}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(
            json.dumps(
                {
                    "schema": 1,
                    "state": "done",
                    "name": f"name{number % 20}",
                    "started": "2026-01-01T12:00:00+00:00",
                    "settings": {"train": settings},
                    "steps": {"total": 3000},
                    "trainer": {
                        "name": "kohya",
                        "packages": {f"package-{n}": "1.0" for n in range(70)},
                    },
                    "outcome": {"step": 3000, "loss": 0.1},
                    "checkpoints": [
                        {"path": f"output/{n}.safetensors", "sha256": "0" * 64} for n in range(10)
                    ],
                },
                indent=1,
            )
        )


def wall(argv: list[str], cwd: Path) -> float:
    times = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run(
            argv,
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        times.append(time.monotonic() - began)
    return min(times)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        share, tail = follow(folder), peer(folder)
        print(
            f"following {LINES_A_SECOND} lines a second: {share:.1%} of a core (budget"
            f" {SHARE_BUDGET:.0%}); tail -f | wc -l: {tail:.1%}"
        )
        make_folders(folder)
        nothing, runs = (
            wall([sys.executable, "-c", "pass"], folder),
            wall([sys.executable, "-m", "lorakit", "runs"], folder),
        )
        ratio = f"{runs / nothing:.1f} times python -c pass ({nothing:.3f} s)"
        print(f"runs over {FOLDERS} folders: {runs:.2f} s (budget {RUNS_BUDGET_S} s), {ratio}")
    return int(share > SHARE_BUDGET or runs > RUNS_BUDGET_S)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write_lines(Path(sys.argv[2]))
        sys.exit(0)
    sys.exit(main())
