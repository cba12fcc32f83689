"""Several lorakit at once, as several machines would run them: started, waited for, looked at. Shared by the tests of both trainers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lorakit.processes import Identity, Member, members
from lorakit.runs.find import last_progress

POISON = """
compute_environment: LOCAL_MACHINE
distributed_type: 'FSDP'
machine_rank: 3
main_process_ip: 192.0.2.1
main_process_port: 1
mixed_precision: fp16
num_machines: 5
num_processes: 35
use_cpu: false
"""


def poison(home: Path) -> None:
    """An accelerate configuration that would ruin every launch that reads it."""
    config = home / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(POISON, encoding="utf-8")


def lorakit(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lorakit", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def start(recipe: Path, *sets: str) -> subprocess.Popen[str]:
    return lorakit("train", str(recipe), *(f"--set={one}" for one in sets))


def start_machines(recipe: Path, *sets: str) -> list[subprocess.Popen[str]]:
    """Two, over loopback, with one process each."""
    shared = (
        "processes=2",
        "machines=2",
        "main_address=127.0.0.1",
        f"main_port={free_port()}",
        *sets,
    )
    return [start(recipe, *shared, f"machine_rank={rank}") for rank in (0, 1)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def end(*running: subprocess.Popen[str]) -> tuple[list[int], list[str]]:
    """Exit codes and what was said."""
    told = [one.communicate(timeout=1800)[1] for one in running]
    return [one.returncode for one in running], told


def records(recipe: Path) -> list[dict[str, Any]]:
    """Of all runs, the first machine's first."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in recipe.parent.glob(f"runs/{recipe.stem}/*/record.json")
    ]
    return sorted(found, key=lambda record: record["machine"]["rank"])


def folder_of(recipe: Path, record: dict[str, Any]) -> Path:
    return recipe.parent / "runs" / str(record["run"])


def at_step(recipe: Path, step: int, *running: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Wait until all of them have come so far; their records."""
    until = time.monotonic() + 1500
    while time.monotonic() < until and all(one.poll() is None for one in running):
        found = [
            one for one in records(recipe) if last_progress(folder_of(recipe, one)).step >= step
        ]
        if len(found) == len(running):
            return found
        time.sleep(0.05)
    raise AssertionError(end(*running))


def living(record: dict[str, Any]) -> list[Member]:
    return members(Identity.from_json(record["process"]))


def total_printed(recipe: Path, record: dict[str, Any]) -> int:
    log = (folder_of(recipe, record) / "log.txt").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"total optimization steps\b[^\n]*: (\d+)", log)
    assert found, log[-2000:]
    return int(found[1])
